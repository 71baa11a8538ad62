/* XSUBs with a Rust body, and loading. */
#include "pxs.h"

#define INLINE_ARGS 16
#define INLINE_RETS 4

typedef struct {
    SV **args;
    size_t items;
    SV **ret;
    size_t nret;
    SV *error;
    int want_list;
    /* from here on only C's */
    size_t capacity;
    SV *inline_ret[INLINE_RETS];
} pxs_frame;

/* In Rust: runs the body that def names. */
int pxs_run_body(void *perl, const void *def, pxs_frame *frame);

void pxs_frame_push(pxs_frame *frame, SV *sv) {
    if (frame->nret == frame->capacity) {
        size_t capacity = frame->capacity * 2;
        SV **old = frame->ret == frame->inline_ret ? NULL : frame->ret;
        if (old) {
            Renew(frame->ret, capacity, SV *);
        } else {
            Newx(frame->ret, capacity, SV *);
            Copy(frame->inline_ret, frame->ret, INLINE_RETS, SV *);
        }
        frame->capacity = capacity;
    }
    frame->ret[frame->nret++] = sv;
}

XS(pxs_trampoline);
XS(pxs_trampoline) {
    dXSARGS;
    const void *def = CvXSUBANY(cv).any_ptr;
    SV *held[INLINE_ARGS];
    pxs_frame frame;
    size_t i;
    int status;
    PERL_UNUSED_VAR(sp);
    frame.args = items <= INLINE_ARGS ? held : (SV **)SvPVX(sv_2mortal(newSV(items * sizeof(SV *))));
    frame.items = items;
    frame.ret = frame.inline_ret;
    frame.nret = 0;
    frame.capacity = INLINE_RETS;
    frame.error = NULL;
    frame.want_list = GIMME_V == G_LIST;
    /* the stack holds no counts: Perl code run by the body could free what the body reads next */
    for (i = 0; i < frame.items; i++) frame.args[i] = SvREFCNT_inc_simple_NN(ST(i));

    status = pxs_run_body(PXS_THX, def, &frame);

    perl_xs_leave(PXS_THX); /* exit has unwound the stacks: nothing below is true any more */
    PL_stack_sp = PL_stack_base + ax - 1;
    if (status == PXS_OK) {
        dSP;
        EXTEND(SP, (SSize_t)frame.nret + 1);
        for (i = 0; i < frame.nret; i++) PUSHs(sv_2mortal(frame.ret[i]));
        PUTBACK;
    } else {
        for (i = 0; i < frame.nret; i++) sv_2mortal(frame.ret[i]);
        if (frame.error) sv_2mortal(frame.error);
    }
    if (frame.ret != frame.inline_ret) Safefree(frame.ret);
    for (i = 0; i < frame.items; i++) SvREFCNT_dec_NN(frame.args[i]); /* may run DESTROY, whose calls go above the results */
    if (status != PXS_OK) croak_sv(frame.error ? frame.error : sv_2mortal(newSVpvs("unknown error")));
}

XS(pxs_clone_skip_xsub);
XS(pxs_clone_skip_xsub) {
    dXSARGS;
    PERL_UNUSED_VAR(items);
    XSRETURN_YES;
}

typedef struct {
    const char *name;
    XSUBADDR_t function;
    void *data;
} pxs_define;

static void define_job(pTHX_ void *data) {
    pxs_define *d = (pxs_define *)data;
    CV *cv = newXS(d->name, d->function, "perl-xs");
    CvXSUBANY(cv).any_ptr = d->data;
}

/* newXS may warn (a redefinition), and a warning's handler may die. */
static void define(pTHX_ const char *name, XSUBADDR_t function, void *data) {
    pxs_define d;
    SV *err = NULL;
    d.name = name;
    d.function = function;
    d.data = data;
    (void)pxs_protect(aTHX_ define_job, &d, &err);
    if (err) pxs_dec(err);
}

void pxs_define_xsub(pTHX_ const char *name, XSUBADDR_t function, void *data) { define(aTHX_ name, function, data); }

void pxs_new_xsub(PXS_PERL, const char *name, const void *def) { define(aTHX_ name, pxs_trampoline, (void *)def); }

void pxs_new_clone_skip(PXS_PERL, const char *name) { define(aTHX_ name, pxs_clone_skip_xsub, NULL); }

void pxs_boot(pTHX_ CV *cv, SV *(*init_entry)(void *perl, const void *init), const void *init) {
    dXSBOOTARGSAPIVERCHK;
    SV *error;
    PERL_UNUSED_VAR(items);
    error = init_entry(PXS_THX, init);
    perl_xs_leave(PXS_THX);
    if (error) croak_sv(sv_2mortal(error));
    Perl_xs_boot_epilog(aTHX_ ax);
}

SV *pxs_package_var(PXS_PERL, const char *name) { return SvREFCNT_inc(get_sv(name, 0)); }
