/* The XSUB of a hot path: $object->method($string, $string, $string, [\%options], [$callback, [@with]]). */
#include "pxs.h"

#define MAX_INTEGERS 2
#define FEW_PAIRS 8 /* so many lie on the stack */

typedef struct {
    pxs_bytes name;
    pxs_bytes value;
    uint32_t utf8;
} pxs_pair;

#define PAIR_NAME_UTF8 1u
#define PAIR_VALUE_UTF8 2u

typedef struct {
    uint32_t given; /* bit i: there is integer[i] */
    int64_t integer[MAX_INTEGERS];
    pxs_pair *pairs;
    size_t npairs;
    /* from here on only C's */
    pxs_pair few[FEW_PAIRS];
} pxs_fast_options;

typedef struct {
    pxs_bytes string[3];
    SV *callback;
    SV *const *scalar;         /* of the strings */
    pxs_with with;             /* what the callback gets behind its own arguments */
    pxs_fast_options *options; /* NULL: none */
    int64_t answer;            /* -1: nobody has been asked */
    SV *asked;                 /* by the handler: whom to ask */
    int64_t answers;           /* and below which number the answer has to be */
} pxs_fast_args;

typedef struct pxs_fast {
    uint32_t type_number;
    uint32_t nmethods;
    uint32_t (*entry)(const struct pxs_fast *def, const void *value, pxs_fast_args *args, SV **error);
    const void *handler;
    const char *fallback;
    const char *answered;
    const char *const *methods;
    pxs_bytes integer[MAX_INTEGERS]; /* names of options */
    pxs_bytes pairs;
} pxs_fast;

#define OUTCOME_FALLBACK (1u << 31)
#define OUTCOME_PANICKED (1u << 30)
#define OUTCOME_ASK (1u << 29)

/* What stands behind the strings. */
typedef struct {
    HV *options;
    SV *callback;
} pxs_rest;

/* Options and callback in either order, undef in the place of either; or options, callback, and what that is to be called
 * with. 0: something else, or something whose reading runs Perl code. */
static int read_rest(pTHX_ I32 ax, I32 items, pxs_rest *rest) {
    I32 i;
    rest->options = NULL;
    rest->callback = NULL;
    for (i = 4; i < items; i++) {
        SV *sv = ST(i);
        if (SvGMAGICAL(sv)) return 0;
        if (i >= 6 || !SvOK(sv)) continue;
        if (!SvROK(sv)) return 0;
        if (SvTYPE(SvRV(sv)) == SVt_PVCV && !rest->callback) rest->callback = SvRV(sv);
        else if (SvTYPE(SvRV(sv)) == SVt_PVHV && !rest->options) rest->options = (HV *)SvRV(sv);
        else return 0;
    }
    /* what a callback is called with stands behind it */
    return items <= 6 || (rest->callback && SvROK(ST(5)) && SvRV(ST(5)) == rest->callback);
}

/* Of the arguments behind the callback what a copy of the only one is made of, or an array of copies. */
static void keep_with(pTHX_ I32 ax, I32 items, pxs_with *with) {
    I32 i;
    with->kind = WITH_VALUE;
    if (items > 7) {
        AV *several = newAV();
        av_extend(several, items - 7);
        for (i = 6; i < items; i++) av_push(several, newSVsv(ST(i)));
        with->sv = (SV *)several;
    } else {
        SV *sv = ST(6);
        /* the text that perl has made of an integer is not worth a copy */
        if ((SvFLAGS(sv) & (SVf_IOK | SVf_NOK | SVf_POK | SVf_ROK | SVf_IVisUV)) == SVf_IOK) {
            with->kind = WITH_INT;
            with->i = (int64_t)SvIVX(sv);
        } else if (SvROK(sv) && !SvAMAGIC(sv)) {
            with->kind = WITH_REF;
            with->sv = SvREFCNT_inc_simple_NN(SvRV(sv));
        } else {
            with->sv = newSVsv(sv);
        }
    }
}

/* A number that is written with digits alone. 0: none, or one that is not taken here. */
static int read_natural(SV *sv, int64_t *number) {
    if (SvROK(sv)) return 0;
    if (SvPOK(sv)) {
        const char *digit = SvPVX_const(sv);
        size_t left = SvCUR(sv);
        int64_t sum = 0;
        if (!left || left > 18) return 0; /* more might not fit */
        for (; left; left--, digit++) {
            if (*digit < '0' || *digit > '9') return 0;
            sum = sum * 10 + (*digit - '0');
        }
        *number = sum;
        return 1;
    }
    if (SvIOK(sv)) {
        *number = (int64_t)SvIVX(sv);
        return !SvIsUV(sv) && SvIVX(sv) >= 0;
    }
    if (SvNOK(sv)) { /* such as perl writes without an exponent */
        const NV value = SvNVX(sv);
        if (!(value > 0 && value < 1e15)) return 0;
        *number = (int64_t)value;
        return (NV)*number == value;
    }
    return 0;
}

/* A string, a number or undef. 0: reading it may run Perl code. */
static int read_text(pTHX_ SV *sv, pxs_bytes *text, uint32_t *utf8, uint32_t flag) {
    if (!PXS_IS_PLAIN_STRING(sv)) {
        if (SvROK(sv) || SvGMAGICAL(sv) || SvTYPE(sv) > SVt_PVMG) return 0;
        if (!SvOK(sv)) {
            text->ptr = NULL;
            text->len = 0;
            return 1;
        }
        sv = sv_mortalcopy(sv);
        (void)SvPV_force_nolen(sv);
    }
    text->ptr = SvPVX_const(sv);
    text->len = SvCUR(sv);
    if (SvUTF8(sv)) *utf8 |= flag;
    return 1;
}

/* An array or a hash that nobody has made more of. */
static SV *plain_container(SV *sv, svtype type) {
    SV *container;
    if (!SvROK(sv) || SvGMAGICAL(sv)) return NULL;
    container = SvRV(sv);
    return SvTYPE(container) == type && !SvOBJECT(container) && !SvRMAGICAL(container) ? container : NULL;
}

static pxs_pair *room_for_pairs(pTHX_ pxs_fast_options *options, size_t count) {
    if (count <= FEW_PAIRS) return options->few;
    return (pxs_pair *)SvPVX(sv_2mortal(newSV(count * sizeof(pxs_pair))));
}

static int read_hash_of_pairs(pTHX_ HV *hv, pxs_fast_options *options) {
    STRLEN i;
    pxs_pair *pair;
    if (!HvARRAY(hv)) return 1;
    options->pairs = pair = room_for_pairs(aTHX_ options, HvUSEDKEYS(hv));
    for (i = 0; i <= HvMAX(hv); i++) {
        HE *he;
        for (he = HvARRAY(hv)[i]; he; he = HeNEXT(he)) {
            SV *value = HeVAL(he);
            if (value == &PL_sv_placeholder) continue;
            if (HeKLEN(he) == HEf_SVKEY) return 0;
            pair->name.ptr = HeKEY(he);
            pair->name.len = (size_t)HeKLEN(he);
            pair->utf8 = HeKUTF8(he) ? PAIR_NAME_UTF8 : 0;
            if (!read_text(aTHX_ value, &pair->value, &pair->utf8, PAIR_VALUE_UTF8)) return 0;
            pair++;
        }
    }
    options->npairs = (size_t)(pair - options->pairs);
    return 1;
}

static int read_array_of_pairs(pTHX_ AV *av, pxs_fast_options *options) {
    const size_t count = (size_t)(AvFILLp(av) + 1);
    size_t i;
    options->pairs = room_for_pairs(aTHX_ options, count);
    for (i = 0; i < count; i++) {
        pxs_pair *pair = &options->pairs[i];
        SV *element = AvARRAY(av)[i];
        AV *both = element ? (AV *)plain_container(element, SVt_PVAV) : NULL;
        if (!both || AvFILLp(both) != 1 || !AvARRAY(both)[0]) return 0;
        pair->utf8 = 0;
        if (!read_text(aTHX_ AvARRAY(both)[0], &pair->name, &pair->utf8, PAIR_NAME_UTF8) || !pair->name.ptr) return 0;
        element = AvARRAY(both)[1];
        if (!read_text(aTHX_ element ? element : &PL_sv_undef, &pair->value, &pair->utf8, PAIR_VALUE_UTF8)) return 0;
    }
    options->npairs = count;
    return 1;
}

static int read_pairs(pTHX_ SV *sv, pxs_fast_options *options) {
    SV *container = plain_container(sv, SVt_PVHV);
    if (container) return read_hash_of_pairs(aTHX_ (HV *)container, options);
    container = plain_container(sv, SVt_PVAV);
    return container ? read_array_of_pairs(aTHX_ (AV *)container, options) : 0;
}

PERL_STATIC_INLINE int is_named(HE *he, const pxs_bytes *name) {
    return HeKLEN(he) == (I32)name->len && !HeKUTF8(he) && memcmp(HeKEY(he), name->ptr, name->len) == 0;
}

static int read_option(pTHX_ const pxs_fast *def, HE *he, pxs_fast_options *options) {
    SV *value = HeVAL(he);
    uint32_t i;
    if (SvGMAGICAL(value)) return 0;
    for (i = 0; i < MAX_INTEGERS; i++) {
        if (!is_named(he, &def->integer[i])) continue;
        if (!SvOK(value)) return 1;
        options->given |= 1u << i;
        return read_natural(value, &options->integer[i]);
    }
    return is_named(he, &def->pairs) && (!SvOK(value) || read_pairs(aTHX_ value, options));
}

/* 0: options that the handler does not know, or that make no sense, or whose reading may run Perl code. */
static int read_options(pTHX_ const pxs_fast *def, HV *hv, pxs_fast_options *options) {
    STRLEN i;
    options->given = 0;
    options->npairs = 0;
    options->pairs = options->few;
    if (SvOBJECT(hv) || SvRMAGICAL(hv)) return 0;
    if (!HvARRAY(hv)) return 1;
    for (i = 0; i <= HvMAX(hv); i++) {
        HE *he;
        for (he = HvARRAY(hv)[i]; he; he = HeNEXT(he))
            if (HeVAL(he) != &PL_sv_placeholder && !read_option(aTHX_ def, he, options)) return 0;
    }
    return 1;
}

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

/* Strings of arguments that are not all plain. 0: there is a reference, which is not for the fast path, or magic, where that
 * is not. */
static int read_unusual(pTHX_ I32 ax, I32 items, SV *string[3], int takes_magic) {
    I32 i;
    int magic = 0;
    for (i = 1; i <= 3; i++) {
        SV *sv = ST(i);
        if (!PXS_IS_QUIET(sv)) magic = 1;
        else if (SvROK(sv) || (SvOK(sv) && SvTYPE(sv) > SVt_PVMG)) return 0;
    }
    if (magic) return takes_magic && read_magical(aTHX_ ax, items, string);
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

/* Calls the code that the handler has named with the first two strings and the number. It may do anything: from now on the
 * call goes by copies of its arguments. Dies as the code does. */
static SV *ask(pTHX_ I32 ax, I32 items, SV *string[3], const pxs_fast_args *args) {
    pxs_arg given[3];
    SV *answer = NULL, *error = NULL;
    I32 i;
    int status;
    sv_2mortal(args->asked);
    for (i = 0; i < items; i++) ST(i) = sv_mortalcopy(i >= 1 && i <= 3 ? string[i - 1] : ST(i));
    for (i = 0; i < 3; i++) string[i] = ST(i + 1);
    for (i = 0; i < 2; i++) {
        given[i].kind = ARG_SV;
        given[i].ptr = sv_2mortal(newSVsv(string[i])); /* sv_mortalcopy would take the other copy's buffer */
    }
    given[2].kind = ARG_INT;
    given[2].i = args->answers;
    status = pxs_call(PXS_THX, args->asked, NULL, given, 3, &answer, &error);
    perl_xs_leave(PXS_THX);
    if (status != PXS_OK) croak_sv(sv_2mortal(error));
    return answer ? sv_2mortal(answer) : sv_newmortal();
}

XS(pxs_fast_xsub);
XS(pxs_fast_xsub) {
    dXSARGS;
    const pxs_fast *def = (const pxs_fast *)CvXSUBANY(cv).any_ptr;
    SV *answer = NULL;
    PERL_UNUSED_VAR(sp);
    do { /* break: not for the fast path */
        pxs_fast_args args;
        pxs_fast_options options;
        pxs_rest rest;
        pxs_state *state = &pxs_tls;
        SV *string[3], *error = NULL;
        if (items < 4 || !read_rest(aTHX_ ax, items, &rest)) break;
        string[0] = ST(1);
        string[1] = ST(2);
        string[2] = ST(3);
        if (UNLIKELY(!PXS_IS_PLAIN_STRING(string[0]) || !PXS_IS_PLAIN_STRING(string[1]) || !PXS_IS_PLAIN_STRING(string[2]))) {
            SV *callback = rest.callback;
            if (!read_unusual(aTHX_ ax, items, string, items <= 5 && !rest.options)) break;
            /* the code that it may run can have changed the callback's variable */
            if (!read_rest(aTHX_ ax, items, &rest) || rest.callback != callback) break;
        }
        args.scalar = string;
        args.answer = -1;
        for (;;) { /* once more with an answer */
            pxs_holder *holder;
            uint32_t outcome;
            int i;
            args.options = NULL;
            if (rest.options) {
                if (!read_options(aTHX_ def, rest.options, &options)) break;
                args.options = &options;
            }
            if (!SvROK(ST(0))) break;
            holder = pxs_find_holder(ST(0), def->type_number);
            if (UNLIKELY(!holder || holder == &pxs_destroyed || holder == &pxs_cloned)) break;
            for (i = 0; i < 3; i++) {
                int defined = SvPOK(string[i]);
                args.string[i].ptr = defined ? SvPVX_const(string[i]) : NULL;
                args.string[i].len = defined ? SvCUR(string[i]) : 0;
            }
            args.callback = rest.callback;
            args.with.kind = WITH_NOTHING;
            if (items > 6) keep_with(aTHX_ ax, items, &args.with);
            state->no_calls++;
            outcome = def->entry(def, holder->value, &args, &error);
            state->no_calls--;
            if (UNLIKELY(args.with.kind >= WITH_REF)) SvREFCNT_dec_NN(args.with.sv); /* it was not taken */
            if (LIKELY(outcome == 0)) XSRETURN_EMPTY;
            if (outcome & OUTCOME_PANICKED) croak_sv(sv_2mortal(error));
            if (outcome & OUTCOME_FALLBACK) break;
            if (!(outcome & OUTCOME_ASK)) {
                call_methods(aTHX_ def, outcome, ST(0));
                XSRETURN_EMPTY;
            }
            answer = ask(aTHX_ ax, items, string, &args);
            if (!read_natural(answer, &args.answer) || args.answer >= args.answers) break;
            if (!read_rest(aTHX_ ax, items, &rest)) break;
        }
    } while (0);
    {
        I32 count;
        PL_stack_sp = PL_stack_base + ax + items - 1;
        if (answer) {
            dSP;
            EXTEND(SP, 1);
            Move(&ST(1), &ST(2), items - 1, SV *);
            ST(1) = answer;
            PL_stack_sp = SP + 1;
        }
        PUSHMARK(PL_stack_base + ax - 1);
        count = call_method(answer ? def->answered : def->fallback, GIMME_V);
        XSRETURN(count);
    }
}

void pxs_define_xsub(pTHX_ const char *name, XSUBADDR_t function, void *data);

void pxs_new_fast(PXS_PERL, const char *name, const pxs_fast *def) {
    pxs_define_xsub(aTHX_ name, pxs_fast_xsub, (void *)def);
}
