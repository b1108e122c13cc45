# What a test starts for a host with systemd: the world in which it is the first process. The test
# holds the other end of standard input; when that closes, however the test ended, all of it goes.
#
# Arguments: the name of the cgroup, the script to run inside, and that script's arguments.
set -u
group=$1 inside=$2
shift 2

# The tree that systemd keeps its services in: the only one, or the one of its name (cgroups(7)).
tree=/sys/fs/cgroup
[[ -e $tree/cgroup.controllers ]] || tree=$tree/systemd
mkdir "$tree/$group" || exit

(
  echo "$BASHPID" >"$tree/$group/cgroup.procs" || exit
  exec unshare --pid --fork --kill-child --mount --cgroup --uts --ipc --propagation private \
    bash -c "$inside" world "$tree" "$@"
) </dev/null &
world=$!
while read -r _; do :; done

kill -KILL "$world"
wait "$world" 2>/dev/null
for _ in {1..50}; do
  find "$tree/$group" -depth -type d -exec rmdir {} + 2>/dev/null
  [[ -e $tree/$group ]] || break
  sleep 0.1
done
