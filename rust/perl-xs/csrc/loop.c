/* Many calls under one eval, with arguments that are reused. */
#include "pxs.h"
#include "entered.h"
#include "slots.h"

typedef struct {
    SV *callee;
    pxs_with with; /* what comes behind the arguments; its count is the loop's */
    int release;
    uint32_t nargs;
    pxs_arg args[PXS_MAX_SLOTS];
} pxs_loop_call;

typedef int (*pxs_next)(void *data, pxs_loop_call *call);

typedef struct {
    SV **slots;
    pxs_next next;
    void *data;
    SV *releasing[2]; /* whose counts are ours until the call is over: the callee, and what it is called with */
    pxs_loop_call call;
    pxs_entered entered;
} pxs_loop;

/* Each is forgotten first: freeing may run code that dies. */
#define RELEASE(loop, dec) \
    STMT_START { \
        int which; \
        for (which = 0; which < 2; which++) { \
            SV *held = (loop)->releasing[which]; \
            (loop)->releasing[which] = NULL; \
            if (held) dec(held); \
        } \
    } STMT_END

PERL_STATIC_INLINE SV *slot_shared(pTHX_ SV **slot, SV *shared) {
    SV *sv = *slot;
    if (LIKELY(sv && SvREFCNT(sv) == 1 && SvFLAGS(sv) == (SVt_PV | SVf_POK | SVp_POK | SVf_IsCOW) && SvPVX(sv) == SvPVX(shared)))
        return sv;
    *slot = NULL;
    SvREFCNT_dec(sv);
    if (UNLIKELY(!SvIsCOW_shared_hash(shared))) return *slot = newSVsv(shared); /* an ordinary string is copied */
    return *slot = newSVhek(SvSHARED_HEK_FROM_PV(SvPVX(shared)));
}

PERL_STATIC_INLINE SV *slot_arg(pTHX_ SV **slot, pxs_arg *arg) {
    switch (arg->kind) {
    case ARG_INT: return slot_int(aTHX_ slot, (IV)arg->i);
    case ARG_BYTES: return slot_bytes(aTHX_ slot, (const char *)arg->ptr, arg->len);
    case ARG_TEXT: return slot_text(aTHX_ slot, (const char *)arg->ptr, arg->len);
    case ARG_SHARED: return slot_shared(aTHX_ slot, (SV *)arg->ptr);
    case ARG_TEMPLATE: return pxs_template_use(aTHX_ (pxs_template *)arg->ptr);
    case ARG_ROWS: return pxs_rows_use(aTHX_ (pxs_rows *)arg->ptr);
    case ARG_SV: return (SV *)arg->ptr;
    default: return slot_undef(aTHX_ slot);
    }
}

static SV *made_of(pTHX_ const pxs_with *with) {
    switch (with->kind) {
    case WITH_INT: return newSViv((IV)with->i);
    case WITH_REF: return newRV_noinc(with->sv);
    case WITH_VALUE: return with->sv;
    default: return NULL;
    }
}

/* Puts a value, or the elements of an array, on the stack. */
static void push_with(pTHX_ SV *with) {
    dSP;
    if (SvTYPE(with) == SVt_PVAV) {
        AV *several = (AV *)with;
        SSize_t i;
        EXTEND(SP, AvFILLp(several) + 1);
        for (i = 0; i <= AvFILLp(several); i++) PUSHs(AvARRAY(several)[i]);
    } else {
        PUSHs(with);
    }
    PUTBACK;
}

/* A sub in Perl has a scope of its own, and gives nothing back in void context: it needs no other around it. */
PERL_STATIC_INLINE I32 scope_for(SV *callee) {
    return SvTYPE(callee) == SVt_PVCV && !CvISXSUB((CV *)callee) ? 0 : G_DISCARD;
}

static void call_once(pTHX_ pxs_loop *loop, SV *const *args) {
    dSP;
    const SSize_t bottom = SP - PL_stack_base;
    const I32 scope = PL_savestack_ix;
    uint32_t i;
    PUSHMARK(SP);
    EXTEND(SP, PXS_MAX_SLOTS + 1);
    for (i = 0; i < loop->call.nargs; i++) PUSHs(args[i]);
    PUTBACK;
    if (loop->releasing[1]) push_with(aTHX_ loop->releasing[1]);
    call_sv(loop->call.callee, G_VOID | scope_for(loop->call.callee));
    /* what is not a sub in Perl after all, but its AUTOLOAD in C, may leave something behind */
    PL_stack_sp = PL_stack_base + bottom;
    LEAVE_SCOPE(scope);
}

/* The callee if it is to have nothing but the arguments of slots, and is the same as long as its address is. */
PERL_STATIC_INLINE SV *lasting_callee(const pxs_loop *loop) {
    SV *callee = loop->call.callee;
    return loop->releasing[1] || (loop->call.release && SvTYPE(callee) != SVt_PVCV) ? NULL : callee;
}

static void loop_job(pTHX_ void *data) {
    pxs_loop *loop = (pxs_loop *)data;
    pxs_loop_call *call = &loop->call;
    const pxs_state *state = &pxs_tls;
    SV *room[PXS_MAX_SLOTS];
    Zero(&loop->entered, 1, pxs_entered);
    for (;;) {
        SV **args = room;
        uint32_t i;
        int runs;
        const int is_call = loop->next(loop->data, call);
        if (is_call) {
            loop->releasing[0] = call->release ? call->callee : NULL;
            loop->releasing[1] = made_of(aTHX_ &call->with);
        }
        PXS_RESUME_EXIT(state);
        if (!is_call) break;
        runs = is_entered(aTHX_ &loop->entered, lasting_callee(loop));
        if (LIKELY(runs)) args = AvARRAY(loop->entered.args);
        for (i = 0; i < call->nargs; i++) args[i] = slot_arg(aTHX_ &loop->slots[i], &call->args[i]);
        if (LIKELY(runs)) run_entered(aTHX_ &loop->entered, call->nargs);
        else call_once(aTHX_ loop, room);
        FREETMPS;
        RELEASE(loop, SvREFCNT_dec_NN);
        FREETMPS;
    }
    leave_entered(aTHX_ &loop->entered);
}

/* With died the first die ends the loop, and is given there; otherwise it becomes a warning. */
int pxs_loop_run(PXS_PERL, SV **slots, pxs_next next, void *data, const char *what, size_t what_len, SV **died) {
    pxs_loop loop;
    if (pxs_tls.no_calls) return PXS_DIED;
    loop.slots = slots;
    loop.next = next;
    loop.data = data;
    loop.releasing[0] = loop.releasing[1] = NULL;
    for (;;) {
        SV *error = NULL;
        int status = pxs_protect(aTHX_ loop_job, &loop, &error);
        RELEASE(&loop, pxs_dec);
        if (status != PXS_DIED) return pxs_tls.exit_pending ? PXS_EXIT : status;
        if (died) {
            *died = error;
            return pxs_tls.exit_pending ? PXS_EXIT : PXS_DIED;
        }
        status = pxs_warn((void *)PXS_THX, what, what_len, error);
        pxs_dec(error);
        if (status == PXS_EXIT || pxs_tls.exit_pending) return PXS_EXIT;
    }
}

void pxs_loop_free(SV **slots) {
    int i;
    for (i = 0; i < PXS_MAX_SLOTS; i++) {
        SV *sv = slots[i];
        slots[i] = NULL;
        if (sv) pxs_dec(sv);
    }
}
