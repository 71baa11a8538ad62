/* Native state in ext magic. */
#include "pxs.h"

pxs_holder pxs_destroyed, pxs_cloned;

static int object_free(pTHX_ SV *sv, MAGIC *mg) {
    pxs_holder *holder = (pxs_holder *)mg->mg_ptr;
    PERL_UNUSED_ARG(sv);
    mg->mg_ptr = (char *)&pxs_destroyed; /* first of all: freeing may come back here */
    if (holder == &pxs_destroyed || holder == &pxs_cloned || !holder) return 0;
    holder->free(PXS_THX, holder, PL_dirty);
    if (!PL_dirty) perl_xs_leave(PXS_THX);
    return 0;
}

static int object_dup(pTHX_ MAGIC *mg, CLONE_PARAMS *params) {
    PERL_UNUSED_CONTEXT;
    PERL_UNUSED_ARG(params);
    if (mg->mg_ptr != (char *)&pxs_destroyed) mg->mg_ptr = (char *)&pxs_cloned;
    return 0;
}

/* perl gives what local puts in the place of a value the value's magic; two values would then free one state. */
static int object_local(pTHX_ SV *sv, MAGIC *mg) {
    PERL_UNUSED_CONTEXT;
    PERL_UNUSED_ARG(sv);
    PERL_UNUSED_ARG(mg);
    return 0;
}

MGVTBL pxs_object_vtbl = {NULL, NULL, NULL, NULL, object_free, NULL, object_dup, object_local};

int pxs_attach(PXS_PERL, SV *referent, pxs_holder *holder) {
    MAGIC *mg;
    if (SvREFCNT(referent) > SvREFCNT_IMMORTAL / 2) return PXS_DIED; /* perl's own undef, yes, no */
    mg = sv_magicext(referent, NULL, PERL_MAGIC_ext, &pxs_object_vtbl, (const char *)holder, 0);
    mg->mg_flags |= MGf_DUP | MGf_LOCAL;
    mg->mg_private = (U16)holder->type_number;
    return PXS_OK;
}

enum { FIND_OK, FIND_NOT_REF, FIND_NONE, FIND_DESTROYED, FIND_CLONED };

int pxs_find(SV *sv, uint32_t type_number, pxs_holder **out) {
    pxs_holder *holder;
    if (!SvROK(sv)) return FIND_NOT_REF;
    holder = pxs_find_holder(sv, type_number);
    if (!holder) return FIND_NONE;
    if (holder == &pxs_destroyed) return FIND_DESTROYED;
    if (holder == &pxs_cloned) return FIND_CLONED;
    *out = holder;
    return FIND_OK;
}

/* The caller has found that it is there. */
pxs_holder *pxs_detach(SV *referent, uint32_t type_number) {
    MAGIC *mg;
    for (mg = SvMAGIC(referent); mg; mg = mg->mg_moremagic) {
        pxs_holder *holder = (pxs_holder *)mg->mg_ptr;
        if (mg->mg_virtual != &pxs_object_vtbl || mg->mg_private != type_number || holder == &pxs_cloned) continue;
        mg->mg_ptr = (char *)&pxs_destroyed;
        return holder;
    }
    return NULL;
}

SV *pxs_upgrade(PXS_PERL, SV *referent) { return SvREFCNT(referent) ? newRV_inc(referent) : NULL; }
