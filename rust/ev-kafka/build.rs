//! Compiles `src/ev.c` against the headers of the perl that will load this library (perl-xs tells
//! which) and of the EV module that this perl finds. `PERL` names the perl (default: `perl`).

use std::process::Command;

/// Prints EV's own folder and the folder beside EV.pm.
const FIND_EV: &str = r#"
    (my $ev = $INC{"EV.pm"}) =~ s/\.pm\z//;
    (my $lib = $ev) =~ s{/EV\z}{};
    print join "\n", $ev, $lib;
"#;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/ev.c");
    println!("cargo:rerun-if-env-changed=PERL");
    println!("cargo:rerun-if-env-changed=PERL5LIB");

    let perl = std::env::var("PERL").unwrap_or_else(|_| "perl".into());
    let output = Command::new(&perl)
        .args(["-MEV", "-e", FIND_EV])
        .output()
        .unwrap_or_else(|error| panic!("cannot run {perl}: {error}"));
    assert!(
        output.status.success(),
        "{perl} cannot load the EV module: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let folders = String::from_utf8(output.stdout).expect("the paths of EV are UTF-8");

    let mut build = cc::Build::new();
    build
        .file("src/ev.c")
        .include(from_perl_xs("INCLUDE"))
        .flag(format!("-isystem{}", from_perl_xs("CORE")));
    for folder in folders.lines() {
        build.flag(format!("-isystem{folder}"));
    }
    for flag in from_perl_xs("CCFLAGS").split_whitespace() {
        build.flag(flag);
    }
    // libev's headers cast between watcher types; EV itself is built the same way.
    build.flag("-fno-strict-aliasing").opt_level(2);
    build.compile("evkafka_ev");
}

fn from_perl_xs(name: &str) -> String {
    std::env::var(format!("DEP_PERL_XS_{name}")).expect("perl-xs tells its dependants about perl")
}
