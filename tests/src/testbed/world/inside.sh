# The first process of a host's world. It has mount, process and host name namespaces of its own, in
# which the engine and the agent run, and takes care of orphans: the engine's shims, when it is killed.
#
# Argument: the host's directory. Prints its process id as the test sees it once all stands.
set -u
dir=$1
# The /proc of the test's namespace is mounted yet.
read -r pid _ </proc/self/stat

hostname "${dir##*/}" || exit
# As on a machine with systemd all mounts are shared, but with none of the machine's.
mapfile -t mounts </proc/self/mountinfo
for line in "${mounts[@]}"; do
  read -r _ _ _ _ point _ <<<"$line"
  # One that another test just removed is none any more.
  [[ $point == "$dir/host-run" ]] || mount --make-private "$point" 2>/dev/null
done
mount --make-rshared / || exit
mount -t proc proc /proc || exit
# The places whose names are fixed in the engine.
mkdir -p /etc/docker
mount --bind "$dir/host-run" /run || exit
mount --bind "$dir/docker/etc" /etc/docker || exit
[[ ! -d /usr/lib/docker/plugins ]] ||
  mount --bind "$dir/docker/plugins" /usr/lib/docker/plugins || exit

echo "$pid"
while read -r _; do :; done
