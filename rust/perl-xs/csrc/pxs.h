/* The C half of perl-xs: what needs perl.h's macros, and everything that may longjmp. src/ffi.rs is its mirror in Rust. */
#ifndef PXS_H
#define PXS_H

#define PERL_NO_GET_CONTEXT
#include "EXTERN.h"
#include "perl.h"
#include "XSUB.h"
#include <stdint.h>
#include "perl_xs.h"

/* Rust passes the interpreter always; a perl without threads ignores it. */
#ifdef MULTIPLICITY
#  define PXS_PERL PerlInterpreter *my_perl
#  define PXS_THX ((void *)my_perl)
#  define PXS_TLS __thread
#else
#  define PXS_PERL void *pxs_no_perl PERL_UNUSED_DECL
#  define PXS_THX NULL
#  define PXS_TLS
#endif

#ifndef G_LIST
#  define G_LIST G_ARRAY
#endif

enum { PXS_OK = 0, PXS_DIED = 1, PXS_EXIT = 2 };

typedef struct {
    const char *ptr; /* NULL: undef */
    size_t len;
} pxs_bytes;

enum { ARG_UNDEF, ARG_INT, ARG_UINT, ARG_FLOAT, ARG_BYTES, ARG_SV, ARG_SHARED, ARG_TEMPLATE, ARG_ROWS, ARG_TEXT };
#define PXS_MAX_SLOTS 8

typedef struct {
    uint32_t kind;
    int64_t i; /* or the bits of a double */
    void *ptr;
    size_t len;
} pxs_arg;

/* What a callback is called with behind its own arguments: as little as can be kept of it until then. */
enum { WITH_NOTHING, WITH_INT, WITH_REF, WITH_VALUE };
typedef struct {
    uint32_t kind;
    int64_t i;
    SV *sv; /* what is referred to; a value, or an array of several */
} pxs_with;

/* what can be read of an argument in place */
typedef struct {
    uint32_t kinds;
    int64_t i;
    const char *ptr;
    size_t len;
} pxs_place;

typedef struct {
    int exit_pending; /* Perl code called exit while Rust frames are below: the outermost C frame carries it out */
    int no_calls;     /* a fast handler runs: it borrows Perl's buffers, so no Perl code may run */
} pxs_state;
extern PXS_TLS pxs_state pxs_tls;

/* state attached to a value; src/object.rs has the rest behind it */
typedef struct pxs_holder {
    uint32_t type_number;
    int32_t pid;
    const void *value;
    void (*free)(void *perl, struct pxs_holder *holder, int dirty);
} pxs_holder;
extern MGVTBL pxs_object_vtbl;
extern pxs_holder pxs_destroyed, pxs_cloned; /* addresses that mg_ptr has in place of a holder */

/* The holder of this type on what sv refers to: NULL if none, or one of the two above. */
PERL_STATIC_INLINE pxs_holder *pxs_find_holder(SV *sv, uint32_t type_number) {
    pxs_holder *found = NULL;
    MAGIC *mg;
    SV *referent = SvRV(sv);
    if (SvTYPE(referent) < SVt_PVMG) return NULL;
    for (mg = SvMAGIC(referent); mg; mg = mg->mg_moremagic) {
        if (mg->mg_virtual != &pxs_object_vtbl || mg->mg_private != type_number) continue;
        found = (pxs_holder *)mg->mg_ptr;
        if (found != &pxs_cloned) return found;
    }
    return found;
}

/* A string that can be read in place, without running anything. */
#define PXS_IS_PLAIN_STRING(sv) \
    ((SvFLAGS(sv) & (SVf_POK | SVf_ROK | SVs_GMG)) == SVf_POK && SvTYPE(sv) <= SVt_PVMG)
/* Reading it as a string or number runs no Perl code, whatever it is. */
#define PXS_IS_QUIET(sv) (!SvGMAGICAL(sv) && !(SvROK(sv) && SvAMAGIC(sv)))

typedef void (*pxs_job)(pTHX_ void *data);
/* Runs job(data) so that neither die, exit nor last leaves it, with the caller's $@ kept; mortals made in it are freed. On
 * PXS_DIED *err is a new SV with what it died with. */
int pxs_protect(pTHX_ pxs_job job, void *data, SV **err);
/* In a job, after Rust code: a destructor that Rust has run may have called exit, which has unwound the stacks that the job's
 * way back needs. Goes on to the end of pxs_protect. */
#define PXS_RESUME_EXIT(state) \
    STMT_START { \
        if (UNLIKELY((state)->exit_pending)) JMPENV_JUMP(2); \
    } STMT_END
void pxs_dec(SV *sv);
/* Calls code, or a method of callee, so that neither die, exit nor last leaves it. */
int pxs_call(PXS_PERL, SV *callee, const char *method, const pxs_arg *args, size_t nargs, SV **result, SV **err);
int pxs_warn(PXS_PERL, const char *what, size_t what_len, SV *text);

typedef struct pxs_template pxs_template;
/* The template's structure with its leaves as set: reused, or built when somebody kept or changed a part of it. */
SV *pxs_template_use(pTHX_ pxs_template *t);

typedef struct pxs_rows pxs_rows;
/* A reference to an array of the rows that were described. */
SV *pxs_rows_use(pTHX_ pxs_rows *rows);

#endif
