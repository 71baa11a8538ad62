/* Arrays and hashes. Reading those of users may run Perl code (tied ones) or croak (restricted ones). */
#include "pxs.h"

SV *pxs_new_av(PXS_PERL, size_t capacity) {
    AV *av = newAV();
    if (capacity) av_extend(av, (SSize_t)capacity - 1);
    return (SV *)av;
}

void pxs_av_push_new(PXS_PERL, SV *av, SV *value) { av_push((AV *)av, value); }

SV *pxs_new_hv(PXS_PERL) { return (SV *)newHV(); }

void pxs_hv_store_new(PXS_PERL, SV *hv, const char *key, size_t len, SV *value) {
    (void)hv_store((HV *)hv, key, (I32)len, value, 0);
}

/* The key is UTF-8. */
void pxs_hv_store_text(PXS_PERL, SV *hv, const char *key, size_t len, SV *value) {
    (void)hv_store((HV *)hv, key, -(I32)len, value, 0);
}

typedef struct {
    SV *container;
    size_t index; /* or the key's length */
    const char *key;
    SV *out;
    size_t len;
} pxs_access;

static void len_job(pTHX_ void *data) {
    pxs_access *a = (pxs_access *)data;
    a->len = (size_t)(av_len((AV *)a->container) + 1);
}

int pxs_av_len(PXS_PERL, SV *av, size_t *out, SV **err) {
    pxs_access a;
    int status;
    if (!SvRMAGICAL(av)) {
        *out = (size_t)(AvFILLp((AV *)av) + 1);
        return PXS_OK;
    }
    a.container = av;
    a.len = 0;
    status = pxs_protect(aTHX_ len_job, &a, err);
    *out = a.len;
    return status;
}

/* A counted copy of the element, its magic followed. */
static SV *plain_copy(pTHX_ SV *sv) {
    SV *copy = sv_newmortal();
    sv_setsv(copy, sv);
    return SvREFCNT_inc_simple_NN(copy);
}

static void av_get_job(pTHX_ void *data) {
    pxs_access *a = (pxs_access *)data;
    SV **slot = av_fetch((AV *)a->container, (SSize_t)a->index, 0);
    if (slot) a->out = plain_copy(aTHX_ *slot);
}

int pxs_av_get(PXS_PERL, SV *container, size_t index, SV **out, SV **err) {
    AV *av = (AV *)container;
    pxs_access a;
    int status;
    if (!SvRMAGICAL(av)) {
        SV *element = (SSize_t)index <= AvFILLp(av) ? AvARRAY(av)[index] : NULL;
        if (!element || !SvGMAGICAL(element)) {
            *out = SvREFCNT_inc(element);
            return PXS_OK;
        }
    }
    a.container = container;
    a.index = index;
    a.out = NULL;
    status = pxs_protect(aTHX_ av_get_job, &a, err);
    *out = a.out;
    return status;
}

static void hv_get_job(pTHX_ void *data) {
    pxs_access *a = (pxs_access *)data;
    HV *hv = (HV *)a->container;
    SV **slot;
    if (!hv_exists(hv, a->key, (I32)a->index)) return; /* a restricted hash croaks on fetching what it does not have */
    slot = hv_fetch(hv, a->key, (I32)a->index, 0);
    if (slot) a->out = plain_copy(aTHX_ *slot);
}

int pxs_hv_get(PXS_PERL, SV *container, const char *key, size_t len, SV **out, SV **err) {
    pxs_access a;
    int status;
    if (!SvRMAGICAL(container) && !SvREADONLY(container)) {
        SV **slot = hv_fetch((HV *)container, key, (I32)len, 0);
        if (!slot || !SvGMAGICAL(*slot)) {
            *out = slot ? SvREFCNT_inc_simple_NN(*slot) : NULL;
            return PXS_OK;
        }
    }
    a.container = container;
    a.key = key;
    a.index = len;
    a.out = NULL;
    status = pxs_protect(aTHX_ hv_get_job, &a, err);
    *out = a.out;
    return status;
}

/* Replaces magical values, which the walk over the hash only collected, by what they give. */
static void resolve_values_job(pTHX_ void *data) {
    AV *pairs = (AV *)((pxs_access *)data)->out;
    SSize_t i;
    for (i = 1; i <= AvFILLp(pairs); i += 2)
        if (SvGMAGICAL(AvARRAY(pairs)[i])) av_store(pairs, i, plain_copy(aTHX_ AvARRAY(pairs)[i]));
}

static void tied_pairs_job(pTHX_ void *data) {
    pxs_access *a = (pxs_access *)data;
    HV *hv = (HV *)a->container;
    HE *he;
    hv_iterinit(hv);
    while ((he = hv_iternext(hv))) {
        SV *key = hv_iterkeysv(he);
        av_push((AV *)a->out, plain_copy(aTHX_ key));
        av_push((AV *)a->out, plain_copy(aTHX_ hv_iterval(hv, he)));
    }
}

int pxs_hv_pairs(PXS_PERL, SV *container, SV **out, SV **err) {
    HV *hv = (HV *)container;
    AV *pairs = newAV();
    pxs_access a;
    int status = PXS_OK, magic = 0;
    a.container = container;
    a.out = (SV *)pairs;
    if (SvRMAGICAL(hv)) {
        status = pxs_protect(aTHX_ tied_pairs_job, &a, err);
    } else if (HvARRAY(hv)) {
        STRLEN i;
        for (i = 0; i <= HvMAX(hv); i++) {
            HE *he;
            for (he = HvARRAY(hv)[i]; he; he = HeNEXT(he)) {
                SV *value = HeVAL(he);
                if (value == &PL_sv_placeholder) continue;
                magic |= SvGMAGICAL(value) != 0;
                av_push(pairs, newSVpvn_utf8(HeKEY(he), HeKLEN(he), HeKUTF8(he) != 0));
                av_push(pairs, SvREFCNT_inc_simple_NN(value));
            }
        }
        if (magic) status = pxs_protect(aTHX_ resolve_values_job, &a, err);
    }
    if (status == PXS_OK) *out = (SV *)pairs;
    else pxs_dec((SV *)pairs);
    return status;
}
