/* Scalars that are written to again while nobody else knows them. */
#ifndef PXS_SLOTS_H
#define PXS_SLOTS_H

/* A scalar with any of these is not ours alone any more, or does more than hold a value. */
#define SLOT_BAD (SVs_GMG | SVs_SMG | SVs_RMG | SVf_READONLY | SVf_PROTECT | SVf_ROK | SVs_OBJECT | SVf_FAKE | SVf_UTF8 | SVs_TEMP)
#define SLOT_IS_OURS(sv) (SvREFCNT(sv) == 1 && !(SvFLAGS(sv) & SLOT_BAD) && SvTYPE(sv) <= SVt_PVMG)

/* The slot's scalar if it can be written to again, else a new one. */
PERL_STATIC_INLINE SV *slot_scalar(pTHX_ SV **slot) {
    SV *sv = *slot;
    if (LIKELY(sv && SLOT_IS_OURS(sv))) return sv;
    *slot = NULL; /* freeing may run code that dies */
    SvREFCNT_dec(sv);
    return *slot = newSV(0);
}

PERL_STATIC_INLINE SV *slot_undef(pTHX_ SV **slot) {
    SV *sv = slot_scalar(aTHX_ slot);
    SvOK_off(sv);
    return sv;
}

PERL_STATIC_INLINE SV *slot_int(pTHX_ SV **slot, IV value) {
    SV *sv = slot_scalar(aTHX_ slot);
    if (LIKELY(SvFLAGS(sv) == (SVt_IV | SVf_IOK | SVp_IOK))) SvIV_set(sv, value);
    else sv_setiv(sv, value);
    return sv;
}

/* A reference, which takes over the count of what it refers to. */
PERL_STATIC_INLINE SV *slot_ref(pTHX_ SV **slot, SV *referent) {
    SV *sv = slot_scalar(aTHX_ slot);
    if (SvTYPE(sv) == SVt_NULL) {
        sv_upgrade(sv, SVt_IV);
    } else if (SvTYPE(sv) != SVt_IV) {
        SvREFCNT_dec_NN(sv);
        sv = *slot = newSV_type(SVt_IV);
    }
    SvOK_off(sv);
    SvRV_set(sv, referent);
    SvROK_on(sv);
    return sv;
}

/* What the slot refers to, or what holds that, for somebody to give up its count. */
PERL_STATIC_INLINE SV *slot_given_up(SV **slot) {
    SV *sv = *slot;
    if (LIKELY(sv && SvREFCNT(sv) == 1 && SvFLAGS(sv) == (SVt_IV | SVf_ROK))) {
        SV *referent = SvRV(sv);
        SvRV_set(sv, NULL);
        SvROK_off(sv);
        return referent;
    }
    *slot = NULL;
    return sv;
}

/* Writes into the string's buffer if it has one to itself; copy on write leaves it shared only while a copy lives. */
PERL_STATIC_INLINE SV *slot_bytes(pTHX_ SV **slot, const char *ptr, size_t len) {
    SV *sv = slot_scalar(aTHX_ slot);
    if (SvTYPE(sv) == SVt_PV && SvLEN(sv) > len) {
        char *buffer = SvPVX(sv);
#ifdef PERL_COPY_ON_WRITE
        if (SvIsCOW(sv)) {
            if (CowREFCNT(sv) != 0) {
                sv_setpvn(sv, ptr, len);
                return sv;
            }
            SvIsCOW_off(sv);
        }
#else
        if (SvIsCOW(sv)) {
            sv_setpvn(sv, ptr, len);
            return sv;
        }
#endif
        memcpy(buffer, ptr, len);
        buffer[len] = 0;
        SvCUR_set(sv, len);
        SvPOK_only(sv);
    } else {
        sv_setpvn(sv, ptr, len);
    }
    return sv;
}

/* A string of UTF-8. Its flag keeps the scalar from being written to again: what it holds next may be bytes. */
PERL_STATIC_INLINE SV *slot_text(pTHX_ SV **slot, const char *ptr, size_t len) {
    SV *sv = slot_bytes(aTHX_ slot, ptr, len);
    SvUTF8_on(sv);
    return sv;
}

#endif
