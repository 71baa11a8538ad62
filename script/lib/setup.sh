# Sourced by the scripts beside this folder, in the checkout: says what it does, and installs
# what is missing on Debian and its kin; elsewhere it says what to install.

# What stands at the head of the script.
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "script/$(basename "$0")"; }

started=$SECONDS
say()  { printf '\n==> [%3d s] %s\n' $((SECONDS - started)) "$*"; }
fail() { printf '\n%s\n' "$*" >&2; exit 1; }

missing=()

# need PACKAGE WHY COMMAND...: the Debian package, unless COMMAND succeeds.
need() {
    local package=$1 why=$2
    shift 2
    if ! "$@" >/dev/null 2>&1; then
        missing+=("$package")
        printf '    missing: %s, %s\n' "$package" "$why"
    fi
}

install_missing() {
    ((${#missing[@]})) || return 0
    local root=()
    if ((EUID != 0)); then root=(sudo); fi
    if ! command -v apt-get >/dev/null || ! command -v "${root[0]:-env}" >/dev/null; then
        fail "Please install these and run this again (names are Debian's): ${missing[*]}"
    fi
    say "installing ${missing[*]} (by apt-get${root[0]:+, as root by ${root[0]}})"
    "${root[@]}" apt-get -qq update
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "${missing[@]}"
    missing=()
}

need_build_tools() {
    need gcc       "compiles the few lines of C between Perl and Rust, and zstd" command -v cc
    need libc6-dev "the C library's headers" test -e /usr/include/stdio.h
    need make      "runs the build" command -v make
    need perl      "ExtUtils::MakeMaker, which writes the Makefile" perl -MExtUtils::MakeMaker -e 1
    need libev-perl "EV, the event loop that EV::Kafka runs on" perl -e 'use EV 4.33'
}

need_kafka() {
    need default-jdk-headless "Java, which runs Apache Kafka" command -v javac
    need maven "fetches Apache Kafka" command -v mvn
}

# A Rust toolchain is the user's own choice; it is not installed behind their back.
check_cargo() {
    local least
    least=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    command -v cargo >/dev/null || fail "EV::Kafka's core is written in Rust: cargo $least or newer is needed and was not found.
Get it from https://rustup.rs (one command, no root needed), open a new shell, and run this again."
}

# Fast when nothing changed: make knows every source of the library.
build() {
    say "building (cargo in release mode; the first time takes a minute or two)"
    perl Makefile.PL >/dev/null
    make | grep -v '^Manifying' || [ "${PIPESTATUS[0]}" -eq 0 ]
}
