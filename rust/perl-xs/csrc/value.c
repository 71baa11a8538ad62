/* Scalars: making, asking and reading them. */
#include "pxs.h"

SV *pxs_new_undef(PXS_PERL) { return newSV(0); }
SV *pxs_new_bytes(PXS_PERL, const char *ptr, size_t len) { return newSVpvn(ptr, len); }
SV *pxs_new_text(PXS_PERL, const char *ptr, size_t len) { return newSVpvn_utf8(ptr, len, 1); }
SV *pxs_new_shared(PXS_PERL, const char *ptr, size_t len) { return newSVpvn_share(ptr, (I32)len, 0); }
SV *pxs_new_int(PXS_PERL, int64_t value) { return newSViv((IV)value); }
SV *pxs_new_uint(PXS_PERL, uint64_t value) { return newSVuv((UV)value); }
SV *pxs_new_float(PXS_PERL, double value) { return newSVnv(value); }
SV *pxs_new_ref(PXS_PERL, SV *to) { return newRV_inc(to); }

int pxs_is_defined(SV *sv) { return SvOK(sv) || isGV_with_GP(sv); }
int pxs_is_ref(SV *sv) { return SvROK(sv) != 0; }
int pxs_has_magic(SV *sv) { return SvGMAGICAL(sv) != 0; }
int pxs_is_overloaded(SV *sv) {
    dTHX;
    return SvROK(sv) && SvAMAGIC(sv) && Gv_AMG(SvSTASH(SvRV(sv)));
}
int pxs_is_utf8(SV *sv) { return SvUTF8(sv) != 0; }
int pxs_is_object(SV *sv) { return SvROK(sv) && SvOBJECT(SvRV(sv)); }
SV *pxs_referent(SV *sv) { return SvROK(sv) ? SvRV(sv) : NULL; }
int pxs_is_code(SV *sv) { return SvTYPE(SvROK(sv) ? SvRV(sv) : sv) == SVt_PVCV; }
int pxs_is_array(SV *sv) { return SvROK(sv) && SvTYPE(SvRV(sv)) == SVt_PVAV; }
int pxs_is_list(SV *sv) { return SvTYPE(sv) == SVt_PVAV; }
int pxs_is_hash(SV *sv) { return SvROK(sv) && SvTYPE(SvRV(sv)) == SVt_PVHV; }

/* perl itself rather copies a string than share a buffer of which so much is unused (sv.c, SV_COW_WASTE_THRESHOLD) */
#define MOST_WASTE 80

/* A new scalar with the buffer of a plain string, which stays as it is until both are gone: whoever changes the string
 * afterwards gets a copy. NULL when perl would copy it now. */
SV *pxs_share(PXS_PERL, SV *sv, pxs_bytes *out) {
#ifdef PERL_COPY_ON_WRITE
    SV *shared;
    if (!SvCANCOW(sv) || !SvLEN(sv) || SvLEN(sv) - SvCUR(sv) >= MOST_WASTE) return NULL;
    shared = newSV_type(SVt_PV);
    sv_setsv_flags(shared, sv, SV_NOSTEAL | SV_COW_SHARED_HASH_KEYS); /* the flag with which perl itself copies on write */
    if (UNLIKELY(!SvPOK(shared))) {
        SvREFCNT_dec_NN(shared);
        return NULL;
    }
    out->ptr = SvPVX_const(shared);
    out->len = SvCUR(shared);
    return shared;
#else
    PERL_UNUSED_ARG(sv);
    PERL_UNUSED_ARG(out);
    return NULL;
#endif
}

typedef struct {
    SV *in, *other, *out;
    int yes;
} pxs_read;

/* Runs a reader that may call Perl code, protected. */
static int read_protected(pTHX_ pxs_job job, pxs_read *r, SV **err) {
    r->out = NULL;
    r->yes = 0;
    return pxs_protect(aTHX_ job, r, err);
}

static void bless_job(pTHX_ void *data) {
    pxs_read *r = (pxs_read *)data;
    if (!SvROK(r->in)) croak("not a reference");
    sv_bless(r->in, gv_stashsv(r->other, GV_ADD));
}

int pxs_bless(PXS_PERL, SV *rv, SV *class_name) {
    pxs_read r;
    SV *err = NULL;
    int status;
    r.in = rv;
    r.other = class_name;
    status = read_protected(aTHX_ bless_job, &r, &err);
    if (err) pxs_dec(err);
    return status;
}

static void derived_job(pTHX_ void *data) {
    pxs_read *r = (pxs_read *)data;
    r->yes = sv_isobject(r->in) && sv_derived_from_sv(r->in, r->other, 0);
}

int pxs_derived_from(PXS_PERL, SV *sv, SV *class_name, int *out, SV **err) {
    pxs_read r;
    int status;
    r.in = sv;
    r.other = class_name;
    status = read_protected(aTHX_ derived_job, &r, err);
    *out = r.yes;
    return status;
}

static void resolve_job(pTHX_ void *data) {
    pxs_read *r = (pxs_read *)data;
    SV *copy = sv_newmortal();
    sv_setsv(copy, r->in);
    r->out = SvREFCNT_inc_simple_NN(copy);
}

int pxs_resolve(PXS_PERL, SV *sv, SV **out, SV **err) {
    pxs_read r;
    int status;
    r.in = sv;
    status = read_protected(aTHX_ resolve_job, &r, err);
    *out = r.out;
    return status;
}

int pxs_peek(SV *sv, pxs_bytes *out) {
    if (!PXS_IS_PLAIN_STRING(sv)) return 0;
    out->ptr = SvPVX_const(sv);
    out->len = SvCUR(sv);
    return 1;
}

enum { PLACE_BYTES = 1, PLACE_INT = 2, PLACE_UNDEF = 4, PLACE_CODE = 8, PLACE_UTF8 = 16 };

/* What can be read of arguments without running anything; until pxs_places_end nothing may run that changes them. */
void pxs_places(SV *const *args, size_t count, pxs_place *places) {
    size_t i;
    pxs_tls.no_calls++;
    for (i = 0; i < count; i++) {
        SV *sv = args[i];
        pxs_place *place = &places[i];
        place->kinds = 0;
        if (SvGMAGICAL(sv)) continue;
        if (SvROK(sv)) {
            if (SvTYPE(SvRV(sv)) != SVt_PVCV) continue;
            place->kinds = PLACE_CODE;
            place->ptr = (const char *)SvRV(sv);
            continue;
        }
        if (SvTYPE(sv) > SVt_PVMG) continue;
        if (SvPOK(sv)) {
            place->kinds = PLACE_BYTES | (SvUTF8(sv) ? PLACE_UTF8 : 0);
            place->ptr = SvPVX_const(sv);
            place->len = SvCUR(sv);
        }
        if (SvIOK(sv) && !SvIsUV(sv)) {
            place->kinds |= PLACE_INT;
            place->i = SvIVX(sv);
        }
        if (!SvOK(sv)) place->kinds = PLACE_UNDEF;
    }
}

void pxs_places_end(void) { pxs_tls.no_calls--; }

/* A new plain string with the value of a scalar whose get-magic has been followed. NULL: undef. */
static SV *string_of(pTHX_ SV *sv) {
    STRLEN len;
    const char *ptr;
    if (!SvOK(sv) && !isGV_with_GP(sv)) return NULL;
    ptr = SvPV_nomg_const(sv, len);
    return newSVpvn_utf8(ptr, len, SvUTF8(sv) != 0);
}

static void string_job(pTHX_ void *data) {
    pxs_read *r = (pxs_read *)data;
    SV *copy = sv_newmortal();
    sv_setsv(copy, r->in);
    r->out = string_of(aTHX_ copy);
}

int pxs_to_string(PXS_PERL, SV *sv, SV **out, SV **err) {
    pxs_read r;
    int status;
    if (PXS_IS_QUIET(sv)) {
        SV *copy = newSV(0); /* reading a number as a string would leave the string in the caller's scalar */
        sv_setsv_flags(copy, sv, SV_NOSTEAL);
        *out = string_of(aTHX_ copy);
        SvREFCNT_dec_NN(copy);
        return PXS_OK;
    }
    r.in = sv;
    status = read_protected(aTHX_ string_job, &r, err);
    *out = r.out;
    return status;
}

enum { NUMBER_NONE, NUMBER_INT, NUMBER_UINT, NUMBER_FLOAT };

typedef struct {
    int kind;
    int64_t i;
    double f;
} pxs_number;

typedef struct {
    SV *in;
    pxs_number *out;
} pxs_number_read;

/* sv is a private copy: its numeric flags may be filled in. */
static void number_of(pTHX_ SV *sv, pxs_number *out) {
    IV iv;
    if (!SvOK(sv)) {
        out->kind = NUMBER_NONE;
        return;
    }
    iv = SvIV_nomg(sv);
    if (SvROK(sv)) { /* its address, as in Perl */
        out->kind = NUMBER_UINT;
        out->i = (int64_t)SvUV_nomg(sv);
    } else if (!SvIOK(sv)) {
        out->kind = NUMBER_FLOAT;
        out->f = SvNV_nomg(sv);
    } else if (SvIsUV(sv) && SvUVX(sv) > (UV)IV_MAX) {
        out->kind = NUMBER_UINT;
        out->i = (int64_t)SvUVX(sv);
    } else {
        out->kind = NUMBER_INT;
        out->i = iv;
    }
}

static void number_job(pTHX_ void *data) {
    pxs_number_read *r = (pxs_number_read *)data;
    SV *copy = sv_newmortal();
    sv_setsv(copy, r->in);
    if (SvROK(copy) && SvAMAGIC(copy)) { /* 0+ may give another number than an integer */
        SV *number = AMG_CALLunary(copy, numer_amg);
        if (number && !(SvROK(number) && SvRV(number) == SvRV(copy))) copy = sv_mortalcopy(number);
    }
    number_of(aTHX_ copy, r->out);
}

int pxs_plain_int(SV *sv, int64_t *out) {
    if (!SvIOK(sv) || SvPOK(sv) || SvIsUV(sv) || SvROK(sv) || SvGMAGICAL(sv)) return 0;
    *out = SvIVX(sv);
    return 1;
}

int pxs_to_number(PXS_PERL, SV *sv, pxs_number *out, SV **err) {
    pxs_number_read r;
    if (SvIOK(sv) && !SvGMAGICAL(sv) && !SvROK(sv) && !SvIsUV(sv)) {
        out->kind = NUMBER_INT;
        out->i = SvIVX(sv);
        return PXS_OK;
    }
    r.in = sv;
    r.out = out;
    /* not only magic runs code: "isn't numeric" is a warning, which may have a handler */
    if (PXS_IS_QUIET(sv) && (!SvOK(sv) || SvROK(sv) || looks_like_number(sv))) {
        SV *copy = newSV(0);
        sv_setsv_flags(copy, sv, SV_NOSTEAL);
        number_of(aTHX_ copy, out);
        SvREFCNT_dec_NN(copy);
        return PXS_OK;
    }
    return pxs_protect(aTHX_ number_job, &r, err);
}

static void bool_job(pTHX_ void *data) {
    pxs_read *r = (pxs_read *)data;
    r->yes = SvTRUE(r->in) != 0;
}

int pxs_to_bool(PXS_PERL, SV *sv, int *out, SV **err) {
    pxs_read r;
    int status;
    if (PXS_IS_QUIET(sv)) {
        *out = SvTRUE_nomg(sv) != 0;
        return PXS_OK;
    }
    r.in = sv;
    status = read_protected(aTHX_ bool_job, &r, err);
    *out = r.yes;
    return status;
}
