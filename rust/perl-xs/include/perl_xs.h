/* For C code of crates that depend on perl-xs. */
#ifndef PERL_XS_H
#define PERL_XS_H

/* The last thing a C callback does that ran Rust code other than as an XSUB: carries out an exit() that Perl code asked for
 * while Rust frames were on the stack. Does not return then. my_perl: aTHX, or NULL on a perl without threads. */
void perl_xs_leave(void *my_perl);

#endif
