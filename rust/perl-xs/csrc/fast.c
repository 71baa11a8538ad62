/* The XSUB of a hot path: $object->method($string, $string, $string, [$callback]). */
#include "pxs.h"

typedef struct {
    pxs_bytes string[3];
    SV *callback;
    SV *const *scalar; /* of the strings */
} pxs_fast_args;

typedef struct pxs_fast {
    uint32_t type_number;
    uint32_t nmethods;
    uint32_t (*entry)(const struct pxs_fast *def, const void *value, const pxs_fast_args *args, SV **error);
    const void *handler;
    const char *fallback;
    const char *const *methods;
} pxs_fast;

#define OUTCOME_FALLBACK (1u << 31)
#define OUTCOME_PANICKED (1u << 30)

/* Strings of arguments of which at least one runs Perl code when read. Each is read once, into a copy that also the fallback
 * gets; the object is looked up by the caller afterwards, since that code may have destroyed it. 0: there is a reference. */
static int read_magical(pTHX_ I32 ax, I32 items, SV *string[3]) {
    I32 i;
    int plain = 1;
    for (i = 0; i < items; i++) sv_2mortal(SvREFCNT_inc_simple_NN(ST(i)));
    for (i = 1; i <= 3; i++) {
        SV *copy = sv_newmortal();
        sv_setsv(copy, ST(i));
        if (SvROK(copy)) {
            /* none: its class overloads something else, or nothing, which perl does not know before it has looked */
            SV *text = SvAMAGIC(copy) ? AMG_CALLunary(copy, string_amg) : NULL;
            if (text && !SvROK(text)) {
                copy = sv_mortalcopy(text);
                (void)SvPV_force_nolen(copy);
            } else {
                plain = 0;
            }
        } else if (SvOK(copy)) {
            (void)SvPV_force_nolen(copy);
        }
        ST(i) = string[i - 1] = copy;
    }
    return plain;
}

/* Strings of arguments that are not all plain. 0: there is a reference, which is not for the fast path. */
static int read_unusual(pTHX_ I32 ax, I32 items, SV *string[3]) {
    I32 i;
    int magic = 0;
    for (i = 1; i <= 3; i++) {
        SV *sv = ST(i);
        if (!PXS_IS_QUIET(sv)) magic = 1;
        else if (SvROK(sv) || (SvOK(sv) && SvTYPE(sv) > SVt_PVMG)) return 0;
    }
    if (magic) return read_magical(aTHX_ ax, items, string);
    for (i = 1; i <= 3; i++) {
        SV *sv = ST(i);
        if (SvOK(sv) && !PXS_IS_PLAIN_STRING(sv)) { /* a number stays one in the caller's scalar */
            sv = sv_mortalcopy(sv);
            (void)SvPV_force_nolen(sv);
        }
        string[i - 1] = sv;
    }
    return 1;
}

static void call_methods(pTHX_ const pxs_fast *def, uint32_t outcome, SV *object) {
    uint32_t i;
    object = sv_mortalcopy(object); /* a method may clear the caller's variable */
    for (i = 0; i < def->nmethods; i++) {
        dSP;
        if (!(outcome & (1u << i))) continue;
        PUSHMARK(SP);
        XPUSHs(object);
        PUTBACK;
        call_method(def->methods[i], G_VOID | G_DISCARD);
    }
}

XS(pxs_fast_xsub);
XS(pxs_fast_xsub) {
    dXSARGS;
    const pxs_fast *def = (const pxs_fast *)CvXSUBANY(cv).any_ptr;
    PERL_UNUSED_VAR(sp);
    do { /* break: not for the fast path */
        pxs_fast_args args;
        pxs_holder *holder;
        pxs_state *state;
        SV *string[3], *error = NULL;
        uint32_t outcome;
        int i;
        if (items < 4 || items > 5) break;
        args.callback = NULL;
        if (items == 5) {
            SV *last = ST(4);
            if (SvGMAGICAL(last)) break;
            if (SvROK(last)) {
                if (SvTYPE(SvRV(last)) != SVt_PVCV) break;
                args.callback = SvRV(last);
            } else if (SvOK(last)) {
                break;
            }
        }
        string[0] = ST(1);
        string[1] = ST(2);
        string[2] = ST(3);
        if (UNLIKELY(!PXS_IS_PLAIN_STRING(string[0]) || !PXS_IS_PLAIN_STRING(string[1]) || !PXS_IS_PLAIN_STRING(string[2]))
            && !read_unusual(aTHX_ ax, items, string))
            break;
        /* after read_unusual: the code that it may run can have changed the callback's variable */
        if (items == 5 && !(SvROK(ST(4)) && SvRV(ST(4)) == args.callback) && args.callback) break;
        if (!SvROK(ST(0))) break;
        holder = pxs_find_holder(ST(0), def->type_number);
        if (UNLIKELY(!holder || holder == &pxs_destroyed || holder == &pxs_cloned)) break;
        for (i = 0; i < 3; i++) {
            int defined = SvPOK(string[i]);
            args.string[i].ptr = defined ? SvPVX_const(string[i]) : NULL;
            args.string[i].len = defined ? SvCUR(string[i]) : 0;
        }
        args.scalar = string;
        state = &pxs_tls;
        state->no_calls++;
        outcome = def->entry(def, holder->value, &args, &error);
        state->no_calls--;
        if (LIKELY(outcome == 0)) XSRETURN_EMPTY;
        if (outcome & OUTCOME_PANICKED) croak_sv(sv_2mortal(error));
        if (outcome & OUTCOME_FALLBACK) break;
        call_methods(aTHX_ def, outcome, ST(0));
        XSRETURN_EMPTY;
    } while (0);
    {
        I32 count;
        PL_stack_sp = PL_stack_base + ax + items - 1;
        PUSHMARK(PL_stack_base + ax - 1);
        count = call_method(def->fallback, GIMME_V);
        XSRETURN(count);
    }
}

void pxs_define_xsub(pTHX_ const char *name, XSUBADDR_t function, void *data);

void pxs_new_fast(PXS_PERL, const char *name, const pxs_fast *def) {
    pxs_define_xsub(aTHX_ name, pxs_fast_xsub, (void *)def);
}
