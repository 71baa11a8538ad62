/* Subs in Perl that are entered once and then run again and again, as perl does for XS code that calls blocks (MULTICALL), but
 * with arguments. A sub cannot tell: it has its own @_, caller and wantarray, may return and die, and what it leaves is
 * cleared away after each run. What could tell is called by call_sv, see can_be_entered. */
#ifndef PXS_ENTERED_H
#define PXS_ENTERED_H

/* a context is pushed by functions of perl's own, and its stack does not count references */
#if PERL_REVISION == 5 && PERL_VERSION >= 24 && !defined(PERL_RC_STACK)
#define PXS_CAN_ENTER
#endif

/* Looking at a sub and entering it costs as much as some calls. */
#define CALLS_BEFORE_ENTERING 4

/* So many callees of a loop are told from each other. */
#define KNOWN_CALLEES 4

typedef struct {
    SV *callee; /* NULL: nobody */
    int calls;
    uint32_t last; /* when it was called last, see turn */
    CV *cv;        /* can be entered; its count is ours. NULL: cannot, or nobody has looked */
    const OP *root; /* of cv when that was looked at */
} pxs_known;

typedef struct {
    SV *callee; /* that of cv */
    CV *cv;     /* NULL: not entered */
    AV *args;   /* its @_ */
    OP *op;     /* perl's before */
    bool catches;
    uint32_t turn;
    pxs_known known[KNOWN_CALLEES];
} pxs_entered;

#ifdef PXS_CAN_ENTER

/* goto &sub is not possible out of a sub that was entered so. */
static int has_goto(const OP *op) {
    const OP *kid;
    if (op->op_type == OP_GOTO) return 1;
    if (!(op->op_flags & OPf_KIDS)) return 0;
    for (kid = cUNOPx(op)->op_first; kid; kid = OpSIBLING(kid))
        if (has_goto(kid)) return 1;
    return 0;
}

/* Not what is no sub in Perl, runs already (which takes another pad), cannot be called, or is watched by a debugger. */
static int can_be_entered(pTHX_ const CV *cv) {
    return !PL_perldb && !CvISXSUB(cv) && CvROOT(cv) && CvDEPTH(cv) == 0 && !CvLVALUE(cv) && !(CvCLONE(cv) && !CvCLONED(cv))
        && !has_goto(CvROOT(cv));
}

static CV *code_of(SV *callee) {
    if (SvROK(callee) && !SvAMAGIC(callee)) callee = SvRV(callee);
    return SvTYPE(callee) == SVt_PVCV ? (CV *)callee : NULL;
}

/* Whether that is still so of a sub that could be entered: it may have got another body, and may run now. */
static int can_still_be_entered(pTHX_ const pxs_known *known) {
    const CV *cv = known->cv;
    return cv && code_of(known->callee) == cv && !PL_perldb && !CvISXSUB(cv) && CvROOT(cv) == known->root && CvDEPTH(cv) == 0;
}

static void make_room(pTHX_ AV *args, SSize_t count) {
    SV **array;
    if (AvMAX(args) >= count - 1) return;
    array = AvALLOC(args);
    Renew(array, count, SV *);
    AvALLOC(args) = AvARRAY(args) = array;
    AvMAX(args) = count - 1;
}

static void push_sub(pTHX_ pxs_entered *e, PERL_CONTEXT *cx, const pxs_known *known) {
    CV *cv = known->cv;
    cx_pushsub(cx, cv, NULL, 1);
    CvDEPTH(cv)++;
    PAD_SET_CUR_NOSAVE(CvPADLIST(cv), 1);
    e->callee = known->callee;
    e->cv = cv;
    e->args = (AV *)PAD_SVl(0);
    cx->blk_sub.savearray = GvAV(PL_defgv);
    GvAV(PL_defgv) = (AV *)SvREFCNT_inc_simple_NN((SV *)e->args);
    make_room(aTHX_ e->args, PXS_MAX_SLOTS + 1);
}

static void enter(pTHX_ pxs_entered *e, const pxs_known *known) {
    dSP;
    e->op = PL_op;
    e->catches = CATCH_GET;
    CATCH_SET(TRUE);
    PUSHSTACKi(PERLSI_MULTICALL);
    push_sub(aTHX_ e, cx_pushblock(CXt_SUB | CXp_MULTICALL, G_VOID, PL_stack_sp, PL_savestack_ix), known);
}

/* Another sub takes the place of the one that is entered. */
static void change_sub(pTHX_ pxs_entered *e, const pxs_known *known) {
    PERL_CONTEXT *cx = CX_CUR();
    e->cv = NULL;
    cx_popsub(cx);
    push_sub(aTHX_ e, cx, known);
}

static void leave_entered(pTHX_ pxs_entered *e) {
    PERL_CONTEXT *cx;
    if (!e->cv) return;
    e->cv = NULL;
    cx = CX_CUR();
    CX_LEAVE_SCOPE(cx);
    cx_popsub(cx);
    cx_popblock(cx);
    CX_POP(cx);
    POPSTACK;
    CATCH_SET(e->catches);
}

static pxs_known *known_of(pxs_entered *e, const SV *callee) {
    pxs_known *known;
    for (known = e->known; known < e->known + KNOWN_CALLEES; known++)
        if (known->callee == callee) return known;
    return NULL;
}

/* The one that was not called for longest is forgotten for it. */
static pxs_known *get_to_know(pxs_entered *e, SV *callee) {
    pxs_known *oldest = e->known, *known;
    CV *before;
    for (known = e->known; known < e->known + KNOWN_CALLEES; known++)
        if (known->last < oldest->last) oldest = known;
    before = oldest->cv;
    Zero(oldest, 1, pxs_known);
    oldest->callee = callee;
    if (before) pxs_dec((SV *)before);
    return oldest;
}

/* Whether it has been called often enough, and can be entered. */
static int is_to_be_entered(pTHX_ pxs_entered *e, pxs_known *known) {
    known->last = ++e->turn;
    if (known->calls <= CALLS_BEFORE_ENTERING && ++known->calls > CALLS_BEFORE_ENTERING) {
        CV *cv = code_of(known->callee);
        if (cv && can_be_entered(aTHX_ cv)) {
            known->cv = (CV *)SvREFCNT_inc_simple_NN((SV *)cv);
            known->root = CvROOT(cv);
        }
    }
    return can_still_be_entered(aTHX_ known);
}

static int enters(pTHX_ pxs_entered *e, SV *callee) {
    pxs_known *known = callee ? known_of(e, callee) : NULL;
    if (!known || !is_to_be_entered(aTHX_ e, known)) {
        leave_entered(aTHX_ e);
        if (callee && !known) is_to_be_entered(aTHX_ e, get_to_know(e, callee));
        return 0;
    }
    if (e->cv) change_sub(aTHX_ e, known);
    else enter(aTHX_ e, known);
    return 1;
}

/* Whether the sub is entered, now at the latest; NULL is none. Another one is left. */
PERL_STATIC_INLINE int is_entered(pTHX_ pxs_entered *e, SV *callee) {
    return LIKELY(e->cv && e->callee == callee) || enters(aTHX_ e, callee);
}

/* Its @_, with room for so many. */
PERL_STATIC_INLINE SV **entered_args(pTHX_ pxs_entered *e, SSize_t count) {
    if (UNLIKELY(count > PXS_MAX_SLOTS + 1)) make_room(aTHX_ e->args, count);
    return AvARRAY(e->args);
}

/* A die has left it already. */
static void was_left(pxs_entered *e) { e->cv = NULL; }

/* Lets go of the callees. */
static void forget_callees(pxs_entered *e) {
    pxs_known *known;
    for (known = e->known; known < e->known + KNOWN_CALLEES; known++) {
        CV *cv = known->cv;
        known->cv = NULL;
        known->callee = NULL;
        if (cv) pxs_dec((SV *)cv);
    }
}

/* Nobody has kept or replaced it, nor put in what it would have to free. */
PERL_STATIC_INLINE int is_args_as_it_was(pTHX_ const AV *args) {
    return !AvREAL(args) && SvREFCNT(args) == 2 && !SvMAGICAL(args) && GvAV(PL_defgv) == args;
}

/* With so many arguments, which stand in args already. */
PERL_STATIC_INLINE void run_entered(pTHX_ pxs_entered *e, uint32_t count) {
    PERL_CONTEXT *cx;
    AvFILLp(e->args) = (SSize_t)count - 1;
    PL_op = CvSTART(e->cv);
    CALLRUNOPS(aTHX);
    cx = CX_CUR();
    CX_LEAVE_SCOPE(cx);
    cx_topblock(cx);
    PL_curcop = cx->blk_oldcop;
    PL_op = e->op;
    if (LIKELY(is_args_as_it_was(aTHX_ e->args))) CLEAR_ARGARRAY(e->args);
    else leave_entered(aTHX_ e);
}

#else

static void leave_entered(pTHX_ pxs_entered *e) { PERL_UNUSED_VAR(e); }
static void was_left(pxs_entered *e) { PERL_UNUSED_VAR(e); }
static void forget_callees(pxs_entered *e) { PERL_UNUSED_VAR(e); }
static int is_entered(pTHX_ pxs_entered *e, SV *callee) {
    PERL_UNUSED_VAR(e);
    PERL_UNUSED_VAR(callee);
    return 0;
}
static SV **entered_args(pTHX_ pxs_entered *e, SSize_t count) {
    PERL_UNUSED_VAR(e);
    PERL_UNUSED_VAR(count);
    return NULL;
}
static void run_entered(pTHX_ pxs_entered *e, uint32_t count) {
    PERL_UNUSED_VAR(e);
    PERL_UNUSED_VAR(count);
}

#endif

#endif
