# Sourced by the scripts of bench/: a server of their own on loopback, its counters, tables.
#
# BENCH_DIR   where data is written (build): the device that is measured
# --json      an object a line instead of a table
# -- FLAGS    go to parleyd
set -euo pipefail
bench=$(basename "$0")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
words=() flags=() json='' header='' pid='' port=''
while [ $# -gt 0 ]; do
    case $1 in
    --json) json=1 ;;
    --help | -h) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "bench/$bench"; exit 0 ;;
    --) shift; flags=("$@"); break ;;
    -*) echo "$bench: unknown option $1; see --help" >&2; exit 2 ;;
    *) words+=("$1") ;;
    esac
    shift
done

build() {
    cmake --preset release >/dev/null
    cmake --build --preset release --target parleyd parley load >/dev/null
}

mkdir -p "${BENCH_DIR:-build}"
work=$(mktemp -d "${BENCH_DIR:-build}/bench-XXXXXX")
end() {
    [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid"; } || true
    rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT TERM
ulimit -n "$(ulimit -Hn)"

# Waits until the server says that it is ready; sets pid and port. Its log is $work/err.
start() { # FLAGS
    : >"$work/out"
    build/release/parleyd --server-data-dir "$work/data" --http-port 0 --http-test-endpoints true \
        "$@" ${flags[@]+"${flags[@]}"} >"$work/out" 2>"$work/err" &
    pid=$!
    until grep -q ready "$work/out"; do
        kill -0 "$pid" 2>/dev/null || { cat "$work/err" >&2; echo "$bench: parleyd did not start" >&2; pid=''; exit 1; }
        sleep 0.02
    done
    port=$(sed -n 's/.*127.0.0.1:\([0-9]*\).*/\1/p' "$work/out")
}

stop() {
    kill "$pid"
    wait "$pid"
    pid=''
}

load() {
    build/release/load --port "$port" --pid "$pid" --data "$work/data" "$@"
}

create() { # COUNT: makes conversations; their ids are in $work/ids
    load --create "$1" --ids "$work/ids" --json >"$work/created"
}

field() { # NAME JSON
    sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p" <<<"$2"
}

counters() { # as of a second ago at most
    curl --silent --fail "http://127.0.0.1:$port/test/counters"
}

# Waits until everything is written back, at most a minute.
settle() {
    for ((i = 0; i < 60; i++)); do
        sleep 1.1
        [ "$(field dirty_bytes "$(counters)")" != 0 ] || return 0
    done
    echo "$bench: after a minute there is still something to write back" >&2
}

calculate() { # FORMAT EXPRESSION: in awk's words; nothing divided by nothing is 0
    awk "function ratio(a, b) { return b ? a / b : 0 } BEGIN { printf \"$1\", $2 }"
}

# A row of the table, or an object. A header comes when the names change.
emit() { # NAME VALUE ...
    local names='' line='' object="{\"bench\":\"$bench\"" name value width
    while [ $# -gt 1 ]; do
        name=$1 value=$2
        shift 2
        width=$((${#name} < 12 ? 14 : ${#name} + 2))
        names+=$(printf "%${width}s" "$name")
        line+=$(printf "%${width}s" "$value")
        [[ $value =~ ^-?[0-9]+(\.[0-9]+)?$ ]] || value="\"$value\""
        object+=",\"${name// /_}\":$value"
    done
    if [ -n "$json" ]; then
        echo "$object}"
        return
    fi
    [ "$names" = "$header" ] || echo "$names"
    header=$names
    echo "$line"
}
