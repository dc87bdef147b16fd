#!/bin/bash
# timed.sh NAME COMMAND...: runs the command and says how long it took.
name=$1
shift
unset MAKELEVEL # a make below this is nobody's sub-make: no "Entering directory"
echo "==> $name"
"$@"
status=$?
outcome=ok
[ $status = 0 ] || outcome="FAILED ($status)"
echo "<== $name: $outcome after $SECONDS s"
exit $status
