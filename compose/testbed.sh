# shellcheck shell=bash
# The testbed as its scripts see it. Sourced.
#
# Everything goes through the engine of DOCKER_HOST, so that it may be any: the machine's, one in
# namespaces of its own (scripts/engine), one elsewhere.
set -euo pipefail

COMPOSE_DIRECTORY=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-weft}
export WEFT_IMAGE=${WEFT_IMAGE:-weft:latest}
export WEFT_BUSYBOX_IMAGE=${WEFT_BUSYBOX_IMAGE:-weft-busybox:latest}
export WEFT_COMPOSE_RUN=${WEFT_COMPOSE_RUN:-/run/weft-compose}
# How long anything may take that is waited for, in seconds: far more than it needs.
readonly PATIENCE=60
# The Weft network of the workloads.
readonly NETWORK=blue

say() { printf '%s\n' "$*" >&2; }

die() {
  say "compose: $1"
  say "hint: $2"
  exit 1
}

# Ends the script, with a hint, when no engine answers.
need_engine() {
  docker version >/dev/null 2>&1 ||
    die "no Docker Engine answers at \`${DOCKER_HOST:-unix:///var/run/docker.sock}\`" \
      'start it, set DOCKER_HOST, or try `scripts/engine make compose`: an engine of its own'
}

# Compose, of either generation.
compose() {
  local program=(docker-compose)
  command -v docker-compose >/dev/null || program=(docker compose)
  "${program[@]}" --file "$COMPOSE_DIRECTORY/docker-compose.yml" "$@"
}

# container SERVICE: prints its id.
container() {
  docker ps --all --quiet --no-trunc \
    --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
    --filter "label=com.docker.compose.service=$1"
}

# weft_on LETTER ARGUMENT...: runs `weft` on a node.
weft_on() {
  local id
  id=$(container "node-$1")
  docker exec --interactive "$id" weft "${@:2}"
}

# members LETTER STATE: prints how many members of that state a node sees.
members() {
  weft_on "$1" members --json |
    python3 -c 'import json,sys; print(sum(m["state"] == sys.argv[1] for m in json.load(sys.stdin)))' "$2"
}

# sees LETTER COUNT STATE: true when a node sees that many members of that state.
sees() { [[ $(members "$1" "$3" 2>/dev/null) == "$2" ]]; }

# eventually WHAT COMMAND...: tries again until it succeeds.
eventually() {
  local what=$1 end=$((SECONDS + PATIENCE))
  shift
  until "$@"; do
    if ((SECONDS >= end)); then
      say "compose: not within $PATIENCE s: $what"
      return 1
    fi
    sleep 0.2
  done
}

# all_alive: waits until each node sees three live members.
all_alive() {
  local letter
  for letter in a b c; do
    eventually "node-$letter sees three live members" sees "$letter" 3 alive
  done
}

# attach LETTER SERVICE: puts a workload on the network, by the number of its process.
attach() {
  local id pid
  id=$(container "$2")
  pid=$(docker inspect --format '{{.State.Pid}}' "$id")
  weft_on "$1" attach "$NETWORK" --pid "$pid" --name "$2" >/dev/null
}

# address SERVICE: prints the address of a workload.
address() {
  local id
  id=$(container "$1")
  docker exec "$id" ip -4 -o address show dev eth0 | awk '{ sub("/.*", "", $4); print $4 }'
}

# answered FROM ADDRESS...: prints how many of the addresses answer a ping of workload FROM.
answered() {
  local id
  id=$(container "$1")
  docker exec "$id" sh -c 'for to; do ping -q -c 1 -W 2 "$to" >/dev/null && echo; done; :' \
    sh "${@:2}" | wc -l
}

# pairs SERVICE...: pings each of them from each other one, and prints how many answer.
pairs() {
  local from to asked=0 answers=0
  local -A addresses=()
  for to in "$@"; do addresses[$to]=$(address "$to"); done
  for from in "$@"; do
    local others=()
    for to in "$@"; do
      [[ $from == "$to" ]] || others+=("${addresses[$to]}")
    done
    asked=$((asked + ${#others[@]}))
    answers=$((answers + $(answered "$from" "${others[@]}")))
  done
  printf '%s of %s answer\n' "$answers" "$asked"
  ((asked == answers))
}

# ping_begin FROM TO: starts a ping, ten a second.
ping_begin() {
  local id to
  id=$(container "$1")
  to=$(address "$2")
  docker exec --detach "$id" \
    sh -c "echo \$\$ >/tmp/ping-$2.pid; exec ping -i 0.1 $to >/tmp/ping-$2 2>&1"
}

# ping_end FROM TO: ends it, prints what was lost, and is true when nothing was.
ping_end() {
  local id
  id=$(container "$1")
  # The numbers are counted from the replies: one packet may be under way when the ping is ended.
  docker exec "$id" sh -c "
    pid=\$(cat /tmp/ping-$2.pid)
    kill -INT \$pid; while [ -d /proc/\$pid ]; do usleep 10000; done
    cat /tmp/ping-$2" |
    awk '
      match($0, /seq=[0-9]+/) {
        replies++
        number = substr($0, RSTART + 4, RLENGTH - 4) + 0
        if (number > last) last = number
      }
      / packets transmitted/ { sent = $1 }
      END {
        lost = sent - replies
        if (sent == last + 2) lost--
        printf "%d of %d lost\n", lost, sent
        exit !(replies > 0 && lost == 0)
      }'
}

# step WHAT COMMAND...: runs a step of a scenario and prints a line for the report: scenario, step,
# outcome, milliseconds, detail (the last line that the command printed), parted by tabs.
step() {
  local what=$1 outcome=ok detail start end
  shift
  start=$(date +%s%3N)
  detail=$("$@" | tail -n 1) || outcome=FAIL
  end=$(date +%s%3N)
  printf '%s\t%s\t%s\t%s\t%s\n' "$(basename "$0")" "$what" "$outcome" "$((end - start))" "$detail"
  [[ $outcome == ok ]] || FAILED=1
}
FAILED=0
