# Every recipe a person or CI uses. Run them through ./justw, which brings the tools they need.

set positional-arguments

target := env('CARGO_TARGET_DIR', justfile_directory() / 'target')
# What simulation, fuzzing and fault runs are built with. CI says dev, and so builds everything once.
profile := env('HOLDFAST_PROFILE', 'release')
built := target / (if profile == 'dev' { 'debug' } else { profile })
buf := env('HOLDFAST_BUF', 'buf')

# List the recipes
[private]
default:
    @just --justfile '{{ justfile() }}' --list --unsorted

# Run orders through the whole fleet, pay them, kill a worker on the way, and prove that nothing was lost or doubled
[no-exit-message]
demo *args: binaries
    @exec '{{ target }}/debug/holdfast' demo "$@"

# Start a private Postgres, nats-server and all workers; Ctrl-C stops them
[no-exit-message]
up *args: binaries
    @exec '{{ target }}/debug/holdfast' up "$@"

# Run the holdfast command with these arguments
[no-exit-message]
[no-cd]
holdfast *args: binaries
    @exec '{{ target }}/debug/holdfast' "$@"

# Run all tests, or those whose name contains NAME: just test NAME; other arguments go to cargo nextest run: just test -E 'test(NAME)'
[no-exit-message]
test *args: binaries
    #!/bin/sh
    # Postgres, nats-server and the workers run for real; the workers are the binaries just built. Such tests mostly wait, so more of
    # them run at once than there are processors.
    export NEXTEST_TEST_THREADS="${NEXTEST_TEST_THREADS:-$((($(nproc) * 5 + 1) / 2))}"
    if cargo nextest --version >/dev/null 2>&1; then
        exec cargo nextest run --workspace "$@"
    fi
    # For machines for which ./justw finds no cargo-nextest. Names select the same tests; -E is unknown here.
    exec cargo test --workspace "$@"

# Measure a private fleet, built for release, against the raw limits of this machine: just bench lifecycle (--help: all scenarios)
[no-exit-message]
bench *args: release
    @exec '{{ target }}/release/bench' "$@"

# For whoever changes the hot path: have the ratios to the raw limits fallen by more than a fifth? (--json prints what to record)
[no-exit-message]
bench-check *args: release
    @exec '{{ target }}/release/bench' check "$@"

# Simulate days of a shop on all services, in memory, with everything going wrong that can: just simulate --seconds 60 --seed 7
[no-exit-message]
simulate *args:
    @cargo build --manifest-path '{{ justfile_directory() }}/Cargo.toml' --profile '{{ profile }}' --quiet {{ if profile == 'dev' { '--workspace --bins' } else { '--package simulation' } }}
    @exec '{{ built }}/simulate' "$@"

# Do one harm after another to a real fleet with a cluster of three nats-servers, for as long as you like: just nemesis --minutes 20 --seed 1
[no-exit-message]
nemesis *args: heavy
    @exec '{{ built }}/nemesis' "$@"

# Build another COMMIT too, and replace workers of one build by those of the other and back, while orders are placed and workers are killed: just upgrade-check v0.1.0 --minutes 10
[no-exit-message]
upgrade-check commit *args: heavy
    #!/bin/sh
    set -eu
    before='{{ target }}/before'
    git worktree remove --force "$before/source" 2>/dev/null || true
    git worktree add --force --detach "$before/source" "$1"
    trap 'git worktree remove --force "$before/source"' EXIT
    CARGO_TARGET_DIR="$before/target" cargo build --manifest-path "$before/source/Cargo.toml" --profile '{{ profile }}' --quiet \
        --package inventory --package orders --package payments --package rounds
    shift
    '{{ built }}/nemesis' --other-build "$before/target/$(basename '{{ built }}')" --only 'one by one' --only 'a worker is killed' --only 'nats-server is killed' "$@"

# Throw rubbish of every kind at a real fleet and see how long good commands wait beside it: just rubbish --seconds 60
[no-exit-message]
rubbish *args: heavy
    @exec '{{ built }}/rubbish' "$@"

# Pay orders through a fake of Stripe while calls, webhooks and workers fail, lay the books of both sides side by side, and have Stripe's schema judge what we sent: just reconcile --orders 2000
[no-exit-message]
reconcile *args: heavy
    @exec '{{ built }}/reconcile' --judge '{{ justfile_directory() }}/tests/fake_stripe/judge.py' "$@"

# Feed every decoder that faces the outside with what nobody should send: just fuzz --seconds 60
[no-exit-message]
fuzz *args:
    @cargo build --manifest-path '{{ justfile_directory() }}/Cargo.toml' --profile '{{ profile }}' --quiet {{ if profile == 'dev' { '--workspace --bins' } else { '--package fuzz' } }}
    @exec '{{ built }}/fuzz' "$@"

# Send the gateway whatever follows from its OpenAPI document, and much that breaks it: is every answer as the document says?
[no-exit-message]
check-api seconds="30": binaries
    @exec "${HOLDFAST_PYTHON:-python3}" '{{ justfile_directory() }}/tests/clients/check_api.py' '{{ target }}/debug/holdfast' '{{ seconds }}'

# Run the programs of tests/clients in Python and Node as the broker's own users, and hold every message against proto/asyncapi.json, and that against AsyncAPI's schema
[no-exit-message]
check-clients: binaries
    @exec "${HOLDFAST_PYTHON:-python3}" '{{ justfile_directory() }}/tests/clients/check_clients.py' '{{ target }}/debug/holdfast'

# Look at every page of the console in Chromium, in light and dark, wide and narrow, with and without script, and behind a prefix: can everybody use it, does it obey its policy, is it small and quick? --pictures DIR draws it
[no-exit-message]
[no-cd]
check-console *args: binaries
    @exec "${HOLDFAST_NODE:-node}" '{{ justfile_directory() }}/tests/console/check.js' '{{ target }}/debug/holdfast' "$@"

# What the console costs the fleet, and how quick its lists are when they are long: orders a second with 50 pages open and without, in turns, then pages of 150,000 orders
[no-exit-message]
[no-cd]
measure-console *args: binaries
    @exec "${HOLDFAST_NODE:-node}" '{{ justfile_directory() }}/tests/console/measure.js' '{{ target }}/debug/holdfast' "$@"

# Ask a real Prometheus, which measures a private fleet at work, every query of every dashboard, and hold the dashboards against our rules and the types of Grafana's SDK; --pictures DIR draws them
[no-exit-message]
[no-cd]
check-dashboards *args: binaries
    @exec "${HOLDFAST_PYTHON:-python3}" '{{ justfile_directory() }}/deploy/dashboards/check.py' '{{ target }}/debug/holdfast' "$@"

# Have two of Stripe's own SDKs and its published schema judge the fake of Stripe that tests pay with
[no-exit-message]
check-stripe: binaries
    #!/bin/sh
    set -eu
    said=$(mktemp)
    '{{ target }}/debug/fake-stripe' --port 0 --key sk_test_judge >"$said" &
    fake=$!
    trap 'kill "$fake"; rm -f "$said"' EXIT
    until url=$(sed -n 's/^fake-stripe listens on //p' "$said") && [ -n "$url" ]; do kill -0 "$fake"; sleep 0.1; done
    # The second one also compares with the schema what the first one was answered.
    failed=0
    "${HOLDFAST_NODE:-node}" '{{ justfile_directory() }}/tests/fake_stripe/judge.js' "$url" sk_test_judge || failed=1
    "${HOLDFAST_PYTHON:-python3}" '{{ justfile_directory() }}/tests/fake_stripe/judge.py' --url "$url" --key sk_test_judge || failed=1
    exit "$failed"

# Hold the Kubernetes manifests against strict schemas and what deploy/README.md says of them; --mutations breaks them in every way that must be noticed
[no-exit-message]
deploy-check *args:
    @exec "${HOLDFAST_PYTHON:-python3}" '{{ justfile_directory() }}/deploy/check.py' "$@"

# Build the image, run deploy/compose.yaml under a Docker engine of its own, and place an order there; needs root and Docker, and says what is missing
[no-exit-message]
deploy-run: heavy
    @exec python3 -B '{{ justfile_directory() }}/deploy/run.py' '{{ built }}'

# Have Patroni and etcd make another Postgres the leader, under load: does the fleet go on by itself, with nothing lost? LOGS is a directory that gets all logs: just failover-check LOGS
[no-exit-message]
[no-cd]
failover-check *args: heavy
    @exec "${HOLDFAST_PYTHON:-python3}" -B '{{ justfile_directory() }}/deploy/failover.py' '{{ built }}' "$@"

# Are the crates of others free of known vulnerabilities, and of licences that nobody allowed? Writes the list of all of them (CycloneDX) to FILE
[no-exit-message]
supply-chain file=(target / 'holdfast.cdx.json'):
    @exec python3 '{{ justfile_directory() }}/deploy/supply_chain.py' '{{ file }}'

# Build realistic bugs into a copy of the sources, one at a time: does the simulation, or else a spec, catch every one?
[no-exit-message]
mutations *args:
    @exec python3 '{{ justfile_directory() }}/tests/simulation/mutations.py' "$@"

# Check format, clippy, contract and docs, as CI does
lint: format clippy contract docs

# Format the Rust code
fmt:
    cargo fmt --all

# All that CI checks, with the time of each step
ci:
    .ci/run

# Is everything formatted?
[private]
format:
    cargo fmt --all --check

[private]
clippy:
    cargo clippy --workspace --all-targets -- -D warnings

# Is the contract in proto/ well formed, and can those who use what was released still read it?
[private]
contract:
    #!/bin/sh
    set -eu
    '{{ buf }}' lint
    for release in proto/released/v*/; do
        '{{ buf }}' breaking --against "$release/contract.binpb"
        echo "contract: well formed, and compatible with $(basename "$release")"
    done

# Record what a release promises to all that come after it: just record-release 0.1.0
[private]
record-release version:
    mkdir -p 'proto/released/v{{ version }}'
    '{{ buf }}' build --exclude-source-info --output 'proto/released/v{{ version }}/contract.binpb'
    sha256sum migrations/*.sql tests/golden/v1/* >'proto/released/v{{ version }}/frozen.sha256'

[private]
docs:
    RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --workspace
    cargo test --doc --package audit

# Once built, building again says nothing; the first time takes minutes and shows its progress
[private]
[no-cd]
binaries:
    @cargo build --manifest-path '{{ justfile_directory() }}/Cargo.toml' --workspace --bins {{ if path_exists(target / 'debug/holdfast') == 'true' { '--quiet' } else { '' } }}

[private]
[no-cd]
release:
    # What the benches run, and not the simulation, fuzzers and fault runs, which take longer to build than all of it.
    @cargo build --manifest-path '{{ justfile_directory() }}/Cargo.toml' --release --bins --quiet --package all-in-one --package bench --package cli --package gateway --package inventory --package orders --package payments --package rounds --package traces

[private]
[no-cd]
heavy:
    @cargo build --manifest-path '{{ justfile_directory() }}/Cargo.toml' --profile '{{ profile }}' --workspace --bins --quiet
