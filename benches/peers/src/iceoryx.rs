//! iceoryx2's publish-subscribe, one of each.

use iceoryx2::node::Node;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    BackpressureStrategy, Config, FileName, LogLevel, NodeBuilder, Path, SemanticString, ipc, set_log_level,
};
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

use crate::case::CAPACITY;
use crate::links::{Receiver, Sender};
use crate::{Message, prefix};

type Factory<M> = PortFactory<ipc::Service, M, ()>;

/// An end, and what keeps it open.
pub struct End<M: Message, P> {
    port: P,
    _factory: Factory<M>,
    _node: Node<ipc::Service>,
}

fn factory<M: Message>(directory: &str, service: &str) -> (Factory<M>, Node<ipc::Service>) {
    set_log_level(LogLevel::Fatal);
    let mut config = Config::default();
    config.global.set_root_path(&Path::new(directory.as_bytes()).expect("a path"));
    config.global.prefix = FileName::new(format!("{}_", prefix()).as_bytes()).expect("a prefix");
    let node = NodeBuilder::new().config(&config).create::<ipc::Service>().expect("a node");
    let factory = node
        .service_builder(&service.try_into().expect("a service name"))
        .publish_subscribe::<M>()
        .subscriber_max_buffer_size(CAPACITY)
        .enable_safe_overflow(false)
        .history_size(0)
        .max_publishers(1)
        .max_subscribers(1)
        .open_or_create()
        .expect("a service");
    (factory, node)
}

pub fn sender<M: Message>(directory: &str, service: &str) -> End<M, Publisher<ipc::Service, M, ()>> {
    let (factory, node) = factory(directory, service);
    let builder = factory.publisher_builder().backpressure_strategy(BackpressureStrategy::DiscardData);
    End { port: builder.create().expect("a publisher"), _factory: factory, _node: node }
}

pub fn receiver<M: Message>(directory: &str, service: &str) -> End<M, Subscriber<ipc::Service, M, ()>> {
    let (factory, node) = factory(directory, service);
    End { port: factory.subscriber_builder().create().expect("a subscriber"), _factory: factory, _node: node }
}

impl<M: Message> Sender<M> for End<M, Publisher<ipc::Service, M, ()>> {
    #[inline(always)]
    fn send(&mut self, message: &M) -> bool {
        // How many subscribers got it.
        self.port.send_copy(*message).expect("a working publisher") == 1
    }
}

impl<M: Message> Receiver<M> for End<M, Subscriber<ipc::Service, M, ()>> {
    #[inline(always)]
    fn receive(&mut self) -> Option<M> {
        self.port.receive().expect("a working subscriber").map(|sample| *sample)
    }
}
