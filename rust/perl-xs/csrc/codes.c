/* Freeing many closures. Each stands in the list of what refers weakly to its package, which perl searches whenever it frees
 * one: that takes the longer the more there are. Here all that are about to go are taken out of it in one pass. */
#include "pxs.h"

/* sv_get_backrefs is there, and the list is an array in no order, from which the last one fills a gap. */
#define PXS_HAS_BACKREFS (PERL_REVISION == 5 && PERL_VERSION >= 22)

#if PXS_HAS_BACKREFS

/* A pass costs as much as some searches: fewer closures than this are left to perl. */
#define ENOUGH 8
/* Closures of so many packages are looked after, the rest are left to perl. */
#define MAX_STASHES 8

/* Open addressing, at most half full. */
typedef struct {
    SV **places;
    size_t mask;
    int shift;
} code_set;

PERL_STATIC_INLINE SV **set_place(const code_set *set, const SV *sv) {
    size_t at = (size_t)(((uint64_t)PTR2UV(sv) * UINT64_C(0x9E3779B97F4A7C15)) >> set->shift);
    while (set->places[at] && set->places[at] != sv) at = (at + 1) & set->mask;
    return &set->places[at];
}

static int set_new(code_set *set, size_t count) {
    int bits = 4;
    while (((size_t)1 << bits) < 2 * count) bits++;
    set->mask = ((size_t)1 << bits) - 1;
    set->shift = 64 - bits;
    set->places = (SV **)calloc(set->mask + 1, sizeof(SV *));
    return set->places != NULL;
}

/* A closure that goes with the reference that we hold. The package of what has magic may matter to who put it there. */
PERL_STATIC_INLINE HV *stash_of_last(SV *sv) {
    if (SvREFCNT(sv) != 1 || SvTYPE(sv) != SVt_PVCV || SvMAGIC(sv) || SvOBJECT(sv)) return NULL;
    return CvANON((CV *)sv) && CvCLONED((CV *)sv) ? CvSTASH((CV *)sv) : NULL;
}

/* Which are found are in no list any more, and say so. */
static void unlist(AV *list, const code_set *set) {
    SV **from = AvARRAY(list);
    SV **const end = from + AvFILLp(list) + 1;
    SV **to = from;
    for (; from < end; from++) {
        if (*set_place(set, *from))
            ((XPVCV *)SvANY(*from))->xcv_stash = NULL;
        else
            *to++ = *from;
    }
    AvFILLp(list) = to - AvARRAY(list) - 1;
}

static void unlist_of(pTHX_ HV *stash, SV **codes, size_t count) {
    code_set set;
    size_t i, found = 0;
    SV *list = sv_get_backrefs((SV *)stash);
    if (!list || SvTYPE(list) != SVt_PVAV || !set_new(&set, count)) return;
    for (i = 0; i < count; i++) {
        if (stash_of_last(codes[i]) != stash) continue;
        *set_place(&set, codes[i]) = codes[i];
        found++;
    }
    if (found >= ENOUGH) unlist((AV *)list, &set);
    free(set.places);
}

void pxs_unlist(PXS_PERL, SV **codes, size_t count) {
    HV *seen[MAX_STASHES];
    size_t i, stashes = 0;
    if (count < ENOUGH || pxs_tls.exit_pending) return;
    for (i = 0; i < count && stashes < MAX_STASHES; i++) {
        HV *const stash = stash_of_last(codes[i]);
        size_t known = 0;
        while (known < stashes && seen[known] != stash) known++;
        if (!stash || known < stashes) continue;
        seen[stashes++] = stash;
        unlist_of(aTHX_ stash, &codes[i], count - i);
    }
}

#else

void pxs_unlist(PXS_PERL, SV **codes, size_t count) {
    PERL_UNUSED_VAR(codes);
    PERL_UNUSED_VAR(count);
}

#endif
