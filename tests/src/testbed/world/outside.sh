# What a test starts for a host with Docker: the world of processes and mounts in it, and who tidies
# up behind it. The test holds the other end of standard input. When that closes, however the test
# ended, the world's first process ends, the kernel ends all others with it, and the rest goes here.
#
# Arguments: the host's directory, the name of its cgroups, the script to run inside.
set -u
dir=$1 group=$2 inside=$3

mkdir -p "$dir/run" "$dir"/docker/{run,containerd,etc,plugins}
# What the agent pins in its run directory is looked at from outside.
mount --bind "$dir/run" "$dir/run"
mount --make-private "$dir/run"
mount --make-shared "$dir/run"

unshare --mount --propagation unchanged --pid --fork --kill-child \
  bash -c "$inside" world "$dir"

for _ in {1..100}; do
  mapfile -t mounts </proc/self/mountinfo
  left=
  for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do
    read -r _ _ _ _ point _ <<<"${mounts[i]}"
    [[ $point == "$dir"/* ]] && left=1 && umount --lazy "$point"
  done
  [[ $left ]] || break
done
# A cgroup is busy for a moment after its last process.
for _ in {1..50}; do
  find /sys/fs/cgroup -depth -type d -path "*/$group*" -exec rmdir {} + 2>/dev/null
  [[ $(find /sys/fs/cgroup -type d -path "*/$group*" -print -quit) ]] || break
  sleep 0.1
done
rm -rf --one-file-system "$dir"
# The last host's takes the testbed's directory along.
compgen -G "${dir%/*}/h*" >/dev/null || rm -rf --one-file-system "${dir%/*}"
