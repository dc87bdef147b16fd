//! The books of a storm: which element was seen, and who may have taken those that were not.

use std::collections::HashMap;

use super::{Log, Message};

/// So many missing elements are looked through one by one.
const FEW: usize = 64;

/// What is known of one producer's elements.
#[derive(Default)]
struct Account {
    /// A bit per sequence, until the account is settled.
    seen: Vec<u64>,
    /// Of a settled account: what was not seen.
    missing: Option<Vec<u64>>,
    /// One more than the last sequence seen.
    end: u64,
    /// In the log being read, by number: one more than the last sequence.
    reader: u64,
    last: u64,
    /// At death: the sequence it was about to enqueue or had enqueued, and how many are in for sure.
    death: Option<(u64, u64)>,
}

impl Account {
    fn has(&self, sequence: u64) -> bool {
        match &self.missing {
            Some(missing) => !missing.contains(&sequence),
            None => self.seen.get(sequence as usize / 64).is_some_and(|word| word >> (sequence % 64) & 1 != 0),
        }
    }

    /// Which elements that are in, or may be, were not seen.
    fn missing(&self) -> Vec<u64> {
        self.missing.clone().unwrap_or_else(|| self.unseen().collect())
    }

    /// The same, of an account that is not settled.
    fn unseen(&self) -> impl Iterator<Item = u64> {
        let (intent, _) = self.death.expect("a dead producer");
        let holes = (0..=intent / 64).filter(|word| self.seen.get(*word as usize) != Some(&u64::MAX));
        let elements = holes.flat_map(|word| word * 64..word * 64 + 64);
        elements.filter(move |one| *one <= intent && !self.has(*one))
    }

    /// Long after its death an account needs no bit per element any more. False when somebody living may still have much of it in their log.
    fn settle(&mut self) -> bool {
        if self.missing.is_none() && self.death.is_some() {
            let missing: Vec<_> = self.unseen().take(FEW + 1).collect();
            if missing.len() <= FEW {
                (self.missing, self.seen) = (Some(missing), Vec::new());
            }
        }
        self.missing.is_some()
    }

    /// False when it was seen before.
    fn see(&mut self, sequence: u64) -> bool {
        if let Some(missing) = &mut self.missing {
            let before = missing.len();
            missing.retain(|other| *other != sequence);
            return missing.len() < before;
        }
        let (index, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
        if index >= self.seen.len() {
            self.seen.resize(index + 1, 0);
        }
        let fresh = self.seen[index] & bit == 0;
        self.seen[index] |= bit;
        fresh
    }
}

/// What is known of a consumer when it was killed: from this follows what it may have held.
struct ConsumerDeath {
    /// Per producer that lived at that moment: the sequence it was at.
    reached: HashMap<u64, u64>,
    /// Per producer: the last sequence it logged.
    last: HashMap<u64, u64>,
    /// The youngest producer at that moment.
    youngest: u64,
}

impl ConsumerDeath {
    /// Whether the dead one may have held this element: after what it logged, and enqueued before it died.
    fn explains(&self, (producer, sequence): (u64, u64)) -> bool {
        producer <= self.youngest
            && self.last.get(&producer).is_none_or(|last| *last < sequence)
            && self.reached.get(&producer).is_none_or(|reached| sequence <= *reached)
    }
}

#[derive(Default)]
pub struct Books {
    accounts: Vec<Account>,
    /// How many accounts are settled: the first ones.
    settled: usize,
    consumer_deaths: Vec<ConsumerDeath>,
    elements: u64,
    lost: u64,
    unsure: u64,
}

impl Books {
    fn account(&mut self, producer: u64) -> &mut Account {
        let index = producer as usize;
        if index >= self.accounts.len() {
            self.accounts.resize_with(index + 1, Account::default);
        }
        &mut self.accounts[index]
    }

    pub fn elements(&self) -> u64 {
        self.elements
    }

    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Enters an element that some reader (0: this process) saw. True when it is that reader's first of the producer.
    fn see(&mut self, reader: u64, producer: u64, sequence: u64) -> bool {
        let account = self.account(producer);
        assert!(account.see(sequence), "{sequence} of producer {producer} was seen twice");
        if sequence >= account.end {
            account.end = sequence + 1;
        }
        let first = account.reader != reader;
        assert!(first || sequence >= account.last, "{sequence} of producer {producer} came out of order");
        (account.reader, account.last) = (reader, sequence + 1);
        first
    }

    /// Enters what was left in the queue.
    pub fn left(&mut self, message: &Message) {
        self.see(0, message.producer, message.sequence);
        self.elements += 1;
    }

    pub fn producer_died(&mut self, producer: u64, intent: u64, done: u64) {
        assert!(done == intent || done == intent + 1, "a producer logs one at a time: {done}, {intent}");
        self.account(producer).death = Some((intent, done));
        while self.settled + 200 < self.accounts.len() && self.accounts[self.settled].settle() {
            self.settled += 1;
        }
    }

    /// Enters the log of a killed consumer. `reached`: the producers that lived then, and the sequence each was at.
    pub fn consumer_died(&mut self, log: &Log, reached: HashMap<u64, u64>) {
        let reader = self.consumer_deaths.len() as u64 + 1;
        let mut producers = Vec::new();
        // Tens of millions of elements go through here, also without optimisation.
        let pairs = log.pairs();
        let mut at = 0;
        while at < pairs.len() {
            if self.see(reader, pairs[at], pairs[at + 1]) {
                producers.push(pairs[at]);
            }
            at += 2;
        }
        self.elements += log.count();
        let last = producers.into_iter().map(|producer| (producer, self.account(producer).last - 1)).collect();
        let youngest = reached.keys().copied().max().unwrap_or(u64::MAX);
        self.consumer_deaths.push(ConsumerDeath { reached, last, youngest });
    }

    /// When everybody is dead and the queue is drained: finds who took each element that nobody saw.
    pub fn close(&mut self) {
        let mut lost = Vec::new();
        for (producer, account) in self.accounts.iter().enumerate() {
            let (intent, done) = account.death.expect("every producer was killed in the end");
            assert!(account.end <= intent + 1, "producer {producer} never sent {}", account.end - 1);
            let missing = account.missing().into_iter().filter(|sequence| *sequence < done);
            lost.extend(missing.map(|sequence| (producer as u64, sequence)));
            self.unsure += u64::from(done == intent && account.has(intent));
        }
        self.lost = lost.len() as u64;
        let deaths = self.consumer_deaths.len();
        assert!(lost.len() <= deaths, "{} lost by {deaths} deaths: {:?}", lost.len(), &lost[..lost.len().min(20)]);
        // One element per death at most: a matching, by augmenting paths.
        let mut held: Vec<Option<usize>> = vec![None; deaths];
        for nth in 0..lost.len() {
            let found = self.blame(nth, &lost, &mut held, &mut vec![false; deaths]);
            assert!(found, "no death explains the loss of {:?} (sequence of producer)", lost[nth]);
        }
    }

    fn blame(&self, nth: usize, lost: &[(u64, u64)], held: &mut [Option<usize>], tried: &mut [bool]) -> bool {
        for death in 0..held.len() {
            if tried[death] || !self.consumer_deaths[death].explains(lost[nth]) {
                continue;
            }
            tried[death] = true;
            if held[death].is_none_or(|other| self.blame(other, lost, held, tried)) {
                held[death] = Some(nth);
                return true;
            }
        }
        false
    }

    pub fn summary(&self) -> String {
        format!(
            "{} elements of {} producers, {} lost by {} killed consumers, {} in though their producer did not say so",
            self.elements,
            self.accounts.len(),
            self.lost,
            self.consumer_deaths.len(),
            self.unsure
        )
    }
}

/// The books of a one-to-one storm: one sequence of producers, one of consumers.
#[derive(Default)]
pub struct Succession {
    /// Intent and what is in for sure, of each dead producer.
    producers: Vec<(u64, u64)>,
    /// The producer and the sequence that come next.
    next: (u64, u64),
    elements: u64,
    lost: u64,
    deaths: u64,
    /// Deaths since the last element that was seen: each may have held one.
    unaccounted: u64,
}

impl Succession {
    pub fn producer_died(&mut self, death: (u64, u64)) {
        self.producers.push(death);
    }

    /// Enters what a dead consumer had, producers and sequences in turn, and how many elements it may have had in its hands.
    pub fn consumer_died(&mut self, pairs: &[u64], held: u64) {
        let mut at = 0;
        while at < pairs.len() {
            self.see((pairs[at], pairs[at + 1]));
            at += 2;
        }
        self.deaths += 1;
        self.unaccounted += held;
    }

    /// The element before the one that comes next.
    pub fn last(&self) -> Option<(u64, u64)> {
        Some((self.next.0, self.next.1.checked_sub(1)?))
    }

    pub fn elements(&self) -> u64 {
        self.elements
    }

    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What nobody took.
    pub fn rest(&mut self, messages: impl Iterator<Item = Message>) {
        messages.for_each(|message| self.see((message.producer, message.sequence)));
        // Whatever was in for sure and is still missing was held.
        self.see((self.producers.len() as u64, 0));
        self.elements -= 1;
    }

    fn see(&mut self, (producer, sequence): (u64, u64)) {
        self.elements += 1;
        if (producer, sequence) != self.next {
            let missing = self.between(producer, sequence);
            assert!(
                missing <= self.unaccounted,
                "{missing} missing between {:?} and {:?}, and {} deaths since",
                self.next,
                (producer, sequence),
                self.unaccounted
            );
            self.lost += missing;
        }
        self.unaccounted = 0;
        self.next = (producer, sequence + 1);
    }

    /// How many elements that are in for sure lie between the next one and this one.
    fn between(&self, producer: u64, sequence: u64) -> u64 {
        assert!(
            (producer, sequence) >= self.next,
            "{:?} came again, or late; next was {:?}",
            (producer, sequence),
            self.next
        );
        let (mut current, mut from) = self.next;
        let mut missing = 0;
        while current < producer {
            let (intent, done) = self.producers[current as usize];
            assert!(from <= intent + 1, "producer {current} never sent {from}");
            missing += done.saturating_sub(from);
            (current, from) = (current + 1, 0);
        }
        missing + (sequence - from)
    }

    pub fn summary(&self) -> String {
        format!(
            "{} elements of {} producers, {} lost by {} killed consumers",
            self.elements,
            self.producers.len(),
            self.lost,
            self.deaths
        )
    }
}
