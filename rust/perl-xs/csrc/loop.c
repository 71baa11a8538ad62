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
    SV **slots; /* the last is for what comes behind the arguments */
    pxs_next next;
    void *data;
    SV *releasing[2]; /* whose counts are ours until the call is over: the callee, and the values that it is called with */
    pxs_loop_call call;
    pxs_entered entered;
} pxs_loop;

#define WITH_SLOT PXS_MAX_SLOTS

/* Each is forgotten first: freeing may run code that dies. */
#define RELEASE(loop, dec) \
    STMT_START { \
        SV *referred_to = (loop)->call.with.kind == WITH_REF ? slot_given_up(&(loop)->slots[WITH_SLOT]) : NULL; \
        int which; \
        (loop)->call.with.kind = WITH_NOTHING; \
        if (referred_to) dec(referred_to); \
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

/* What comes behind the arguments: a value, or an array of several. */
PERL_STATIC_INLINE SV *with_arg(pTHX_ pxs_loop *loop) {
    const pxs_with *with = &loop->call.with;
    switch (with->kind) {
    case WITH_INT: return slot_int(aTHX_ &loop->slots[WITH_SLOT], (IV)with->i);
    case WITH_REF: return slot_ref(aTHX_ &loop->slots[WITH_SLOT], with->sv);
    case WITH_VALUE: return loop->releasing[1] = with->sv;
    default: return NULL;
    }
}

/* How many values that is. */
PERL_STATIC_INLINE SSize_t count_of(SV *with) {
    if (!with) return 0;
    return SvTYPE(with) == SVt_PVAV ? AvFILLp((AV *)with) + 1 : 1;
}

PERL_STATIC_INLINE void put_with(SV **args, SV *with, SSize_t count) {
    if (with && SvTYPE(with) == SVt_PVAV) Copy(AvARRAY((AV *)with), args, count, SV *);
    else if (with) *args = with;
}

/* A sub in Perl has a scope of its own, and gives nothing back in void context: it needs no other around it. */
PERL_STATIC_INLINE I32 scope_for(SV *callee) {
    return SvTYPE(callee) == SVt_PVCV && !CvISXSUB((CV *)callee) ? 0 : G_DISCARD;
}

static void call_once(pTHX_ pxs_loop *loop, SV *const *args, SV *with, SSize_t with_count) {
    dSP;
    const SSize_t bottom = SP - PL_stack_base;
    const I32 scope = PL_savestack_ix;
    uint32_t i;
    PUSHMARK(SP);
    EXTEND(SP, PXS_MAX_SLOTS + with_count);
    for (i = 0; i < loop->call.nargs; i++) PUSHs(args[i]);
    put_with(SP + 1, with, with_count);
    SP += with_count;
    PUTBACK;
    call_sv(loop->call.callee, G_VOID | scope_for(loop->call.callee));
    /* what is not a sub in Perl after all, but its AUTOLOAD in C, may leave something behind */
    PL_stack_sp = PL_stack_base + bottom;
    LEAVE_SCOPE(scope);
}

/* The callee if it is the same as long as its address is. */
PERL_STATIC_INLINE SV *lasting_callee(const pxs_loop *loop) {
    SV *callee = loop->call.callee;
    return loop->call.release && SvTYPE(callee) != SVt_PVCV ? NULL : callee;
}

static void loop_job(pTHX_ void *data) {
    pxs_loop *loop = (pxs_loop *)data;
    pxs_loop_call *call = &loop->call;
    const pxs_state *state = &pxs_tls;
    SV *room[PXS_MAX_SLOTS];
    was_left(&loop->entered);
    for (;;) {
        SV **args = room, *with;
        SSize_t with_count;
        uint32_t i;
        int runs;
        if (!loop->next(loop->data, call)) {
            PXS_RESUME_EXIT(state);
            break;
        }
        loop->releasing[0] = call->release ? call->callee : NULL;
        with = with_arg(aTHX_ loop);
        PXS_RESUME_EXIT(state);
        with_count = count_of(with);
        runs = is_entered(aTHX_ &loop->entered, lasting_callee(loop));
        if (LIKELY(runs)) args = entered_args(aTHX_ &loop->entered, call->nargs + with_count);
        for (i = 0; i < call->nargs; i++) args[i] = slot_arg(aTHX_ &loop->slots[i], &call->args[i]);
        if (LIKELY(runs)) {
            put_with(args + i, with, with_count);
            run_entered(aTHX_ &loop->entered, call->nargs + (uint32_t)with_count);
        } else {
            call_once(aTHX_ loop, room, with, with_count);
        }
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
    loop.call.with.kind = WITH_NOTHING;
    Zero(&loop.entered, 1, pxs_entered);
    for (;;) {
        SV *error = NULL;
        int status = pxs_protect(aTHX_ loop_job, &loop, &error);
        RELEASE(&loop, pxs_dec);
        if (status == PXS_DIED && !died) {
            status = pxs_warn((void *)PXS_THX, what, what_len, error);
            pxs_dec(error);
            if (status != PXS_EXIT && !pxs_tls.exit_pending) continue;
        } else if (status == PXS_DIED) {
            *died = error;
        }
        forget_callees(&loop.entered);
        return pxs_tls.exit_pending ? PXS_EXIT : status;
    }
}

void pxs_loop_free(SV **slots) {
    int i;
    for (i = 0; i <= WITH_SLOT; i++) {
        SV *sv = slots[i];
        slots[i] = NULL;
        if (sv) pxs_dec(sv);
    }
}
