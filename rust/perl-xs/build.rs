//! Compiles the C half against the perl that `PERL` names (default: the `perl` in PATH) and tells dependants how.

use std::path::Path;
use std::process::Command;

/// Asks perl for one line per expression.
fn ask_perl(script: &str) -> Vec<String> {
    let perl = std::env::var_os("PERL").unwrap_or_else(|| "perl".into());
    let output = Command::new(&perl)
        .args(["-MConfig", "-e", script])
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "cannot run {}: {error}; set PERL to a perl binary",
                perl.to_string_lossy()
            )
        });
    assert!(
        output.status.success(),
        "{} failed: {}",
        perl.to_string_lossy(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

fn main() {
    println!("cargo:rerun-if-env-changed=PERL");
    println!("cargo:rerun-if-changed=csrc");
    println!("cargo:rerun-if-changed=include");
    println!("cargo:rustc-check-cfg=cfg(perl_threads)");

    let config = ask_perl(
        r#"print "$_\n" for "$Config{archlibexp}/CORE", $Config{ccflags}, $Config{usemultiplicity} // "", $Config{ivsize}"#,
    );
    let [core, ccflags, multiplicity, ivsize] = config.as_slice() else {
        panic!("unexpected answer from perl: {config:?}")
    };
    assert!(
        Path::new(core).join("perl.h").exists(),
        "perl's headers are missing ({core}/perl.h): install perl's development package (Debian: libperl-dev)"
    );
    assert_eq!(
        ivsize, "8",
        "perl's integers have {ivsize} bytes: a perl with 64-bit integers is needed"
    );
    if multiplicity == "define" {
        println!("cargo:rustc-cfg=perl_threads");
    }

    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    // Read by a dependant's build script as DEP_PERL_XS_CORE, DEP_PERL_XS_CCFLAGS and DEP_PERL_XS_INCLUDE.
    println!("cargo:core={core}");
    println!("cargo:ccflags={ccflags}");
    println!("cargo:include={}", include.display());

    let mut build = cc::Build::new();
    // Errors of perl's own headers are not ours to warn about; the C half itself is kept clean under -Wall.
    build
        .flag(format!("-isystem{core}"))
        .include(&include)
        .include("csrc")
        .opt_level(2)
        .extra_warnings(false);
    for flag in ccflags.split_whitespace() {
        build.flag(flag);
    }
    // The C half reads perl's unions as perl itself does.
    build
        .flag("-fno-strict-aliasing")
        .flag_if_supported("-Wno-declaration-after-statement");
    let mut sources: Vec<_> = std::fs::read_dir("csrc")
        .expect("csrc is part of this crate")
        .map(|entry| entry.expect("csrc can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    sources.sort();
    if !sources.is_empty() {
        build.files(sources).compile("perl_xs_c");
    }
}
