/* Running Perl code without ever longjmping over a Rust frame. */
#include "pxs.h"

PXS_TLS pxs_state pxs_tls;

typedef struct {
    pxs_job job;
    void *data;
    int done;
} pxs_protected;

void *pxs_current(void) {
#ifdef MULTIPLICITY
    return PERL_GET_THX;
#else
    return NULL;
#endif
}

int pxs_dirty(PXS_PERL) { return PL_dirty; }
int pxs_exit_pending(void) { return pxs_tls.exit_pending; }
size_t pxs_sv_count(PXS_PERL) { return PL_sv_count; }
void pxs_set_destruct_level(PXS_PERL, int level) { PL_perl_destruct_level = (signed char)level; }

void perl_xs_leave(void *perl) {
    if (!pxs_tls.exit_pending) return;
    pxs_tls.exit_pending = 0;
    {
        dTHXa(perl);
        PERL_UNUSED_ARG(perl);
        my_exit(STATUS_EXIT);
    }
}

/* The eval around a job is that of calling this XSUB. Each library with a copy of this code has one under its own name;
 * looking it up by name makes it the right one of each thread. */
XS(pxs_protect_xsub); /* -Wmissing-prototypes */
XS(pxs_protect_xsub) {
    pxs_protected *p = (pxs_protected *)CvXSUBANY(cv).any_ptr; /* read at once: nested jobs overwrite it */
    dXSARGS;
    PERL_UNUSED_VAR(sp);
    PERL_UNUSED_VAR(items);
    CvXSUBANY(cv).any_ptr = NULL;
    if (p) { /* not called by hand */
        ENTER;
        SAVETMPS;
        p->job(aTHX_ p->data);
        FREETMPS;
        LEAVE;
        p->done = 1;
    }
    XSRETURN_EMPTY;
}

static char protect_name[64]; /* unique to this library */

static CV *protect_cv(pTHX) {
    CV *cv = get_cv(protect_name, 0);
    return cv && CvISXSUB(cv) && CvXSUB(cv) == pxs_protect_xsub ? cv : newXS(protect_name, pxs_protect_xsub, __FILE__);
}

/* At boot, before anything else. */
void pxs_new_protect(PXS_PERL) {
    my_snprintf(protect_name, sizeof protect_name, "perl_xs::_protect_%" UVxf, PTR2UV(&pxs_object_vtbl));
    (void)protect_cv(aTHX);
}

/* Whether Perl code may run now; if not, *status says what to return. */
static int may_run(pTHX_ int *status, SV **err) {
    pxs_state *state = &pxs_tls;
    if (state->exit_pending) {
        *status = PXS_EXIT;
        return 0;
    }
    if (state->no_calls) {
        *status = PXS_DIED;
        *err = newSVpvs("internal error: Perl code called from a fast handler");
        return 0;
    }
    return 1;
}

/* exit has unwound all of Perl's stacks when it gets here: nothing of them may be touched. */
static int exited(pTHX_ int jump) {
    if (jump != 2) STATUS_ALL_FAILURE;
    pxs_tls.exit_pending = 1;
    return PXS_EXIT;
}

int pxs_protect(pTHX_ pxs_job job, void *data, SV **err) {
    pxs_protected p;
    int jump, status = PXS_OK;
    CV *cv;
    dJMPENV;
    if (!may_run(aTHX_ &status, err)) return status;
    p.job = job;
    p.data = data;
    p.done = 0;
    cv = protect_cv(aTHX);
    JMPENV_PUSH(jump);
    if (jump == 0) {
        dSP;
        PUSHSTACKi(PERLSI_MAGIC); /* last, next and goto find no loop of the caller's */
        ENTER;
        save_scalar(PL_errgv);
        PUSHMARK(SP);
        PUTBACK;
        CvXSUBANY(cv).any_ptr = &p;
        call_sv((SV *)cv, G_VOID | G_DISCARD | G_EVAL);
        if (!p.done) *err = newSVsv(ERRSV);
        LEAVE;
        SPAGAIN;
        POPSTACK;
    }
    JMPENV_POP;
    if (jump) return exited(aTHX_ jump);
    return p.done ? PXS_OK : PXS_DIED;
}

static SV *mortal_arg(pTHX_ const pxs_arg *arg) {
    switch (arg->kind) {
    case ARG_INT: return sv_2mortal(newSViv((IV)arg->i));
    case ARG_UINT: return sv_2mortal(newSVuv((UV)arg->i));
    case ARG_FLOAT: {
        double value;
        memcpy(&value, &arg->i, sizeof value);
        return sv_2mortal(newSVnv(value));
    }
    case ARG_BYTES: return newSVpvn_flags((const char *)arg->ptr, arg->len, SVs_TEMP);
    case ARG_SV: return (SV *)arg->ptr;
    default: return sv_newmortal();
    }
}

/* result NULL: void context; else a new SV goes there. */
int pxs_call(PXS_PERL, SV *callee, const char *method, const pxs_arg *args, size_t nargs, SV **result, SV **err) {
    int jump, died = 0, status = PXS_OK;
    volatile int ended = PXS_OK;
    dJMPENV;
    if (!may_run(aTHX_ &status, err)) return status;
    JMPENV_PUSH(jump);
    if (jump == 0) {
        dSP;
        const I32 flags = G_EVAL | (result ? G_SCALAR : G_VOID | G_DISCARD);
        I32 returned;
        size_t i;
        SV *error;
        PUSHSTACKi(PERLSI_MAGIC);
        ENTER;
        SAVETMPS;
        save_scalar(PL_errgv);
        PUSHMARK(SP);
        EXTEND(SP, (SSize_t)nargs + 1);
        if (method) PUSHs(callee);
        for (i = 0; i < nargs; i++) PUSHs(mortal_arg(aTHX_ &args[i]));
        PUTBACK;
        returned = method ? call_method(method, flags) : call_sv(callee, flags);
        SPAGAIN;
        error = ERRSV;
        died = SvROK(error) || SvTRUE_nomg(error);
        if (died) {
            *err = newSVsv(error);
            ended = PXS_DIED;
        } else if (result && returned) {
            SV *value = POPs;
            *result = newSV(0);
            sv_setsv_flags(*result, value, 0); /* magic of a returned value is not followed: it could die here */
        }
        PUTBACK;
        FREETMPS;
        LEAVE;
        SPAGAIN;
        POPSTACK;
    }
    JMPENV_POP;
    if (jump) return exited(aTHX_ jump);
    return ended;
}

typedef struct {
    const char *what;
    size_t what_len;
    SV *text;
} pxs_warning;

static void warn_job(pTHX_ void *data) {
    pxs_warning *w = (pxs_warning *)data;
    SV *text = sv_2mortal(w->what ? newSVpvn(w->what, w->what_len) : newSVpvs(""));
    if (w->what) sv_catpvs(text, ": ");
    sv_catsv(text, w->text);
    warn_sv(text);
}

/* "what: text", or the text alone. A __WARN__ handler that dies only loses the warning. */
int pxs_warn(PXS_PERL, const char *what, size_t what_len, SV *text) {
    pxs_warning w;
    SV *err = NULL;
    int status;
    w.what = what;
    w.what_len = what_len;
    w.text = text;
    status = pxs_protect(aTHX_ warn_job, &w, &err);
    if (err) pxs_dec(err);
    return status == PXS_EXIT ? PXS_EXIT : PXS_OK;
}

void pxs_inc(SV *sv) { SvREFCNT_inc_simple_void_NN(sv); }
size_t pxs_refcount(SV *sv) { return SvREFCNT(sv); }

/* The last reference: freeing may run DESTROY, whose die perl catches, but not its exit. */
static void free_last(pTHX_ SV *sv) {
    pxs_state *state = &pxs_tls;
    int jump;
    dJMPENV;
    if (state->exit_pending && !PL_dirty) return; /* its stacks are gone; global destruction finds the object */
    if (state->no_calls) {
        sv_2mortal(sv);
        return;
    }
    if (SvTYPE(sv) < SVt_PVMG && !SvROK(sv)) {
        SvREFCNT_dec_NN(sv);
        return;
    }
    JMPENV_PUSH(jump);
    if (jump == 0) SvREFCNT_dec_NN(sv);
    JMPENV_POP;
    if (jump && !PL_dirty) (void)exited(aTHX_ jump);
}

void pxs_dec(SV *sv) {
    if (LIKELY(SvREFCNT(sv) > 1)) {
        SvREFCNT(sv)--;
    } else {
        dTHX;
        free_last(aTHX_ sv);
    }
}
