/* A sub in Perl that is entered once and then run again and again, as perl does for XS code that calls blocks (MULTICALL), but
 * with arguments. The sub cannot tell: it has its own @_, caller and wantarray, may return and die, and what it leaves is
 * cleared away after each run. What could tell is called by call_sv, see can_be_entered. */
#ifndef PXS_ENTERED_H
#define PXS_ENTERED_H

/* a context is pushed by functions of perl's own, and its stack does not count references */
#if PERL_REVISION == 5 && PERL_VERSION >= 24 && !defined(PERL_RC_STACK)
#define PXS_CAN_ENTER
#endif

/* Looking at a sub and entering it costs as much as some calls. */
#define CALLS_BEFORE_ENTERING 4

typedef struct {
    SV *callee; /* of the last calls, NULL: none that counts */
    int calls;
    CV *cv;   /* NULL: not entered */
    AV *args; /* its @_ */
    OP *op;   /* perl's before */
    bool catches;
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

static void enter(pTHX_ pxs_entered *e, CV *cv) {
    PERL_CONTEXT *cx;
    dSP;
    e->op = PL_op;
    e->catches = CATCH_GET;
    CATCH_SET(TRUE);
    PUSHSTACKi(PERLSI_MULTICALL);
    cx = cx_pushblock(CXt_SUB | CXp_MULTICALL, G_VOID, PL_stack_sp, PL_savestack_ix);
    cx_pushsub(cx, cv, NULL, 1);
    CvDEPTH(cv)++;
    PAD_SET_CUR_NOSAVE(CvPADLIST(cv), 1);
    e->cv = cv;
    e->args = (AV *)PAD_SVl(0);
    cx->blk_sub.savearray = GvAV(PL_defgv);
    GvAV(PL_defgv) = (AV *)SvREFCNT_inc_simple_NN((SV *)e->args);
    if (AvMAX(e->args) < PXS_MAX_SLOTS - 1) {
        SV **array = AvALLOC(e->args);
        Renew(array, PXS_MAX_SLOTS, SV *);
        AvALLOC(e->args) = AvARRAY(e->args) = array;
        AvMAX(e->args) = PXS_MAX_SLOTS - 1;
    }
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

/* After some calls of it, none of them of another one between. */
static int enters(pTHX_ pxs_entered *e, SV *callee) {
    CV *cv;
    if (e->callee != callee) {
        leave_entered(aTHX_ e);
        e->callee = callee;
        e->calls = 0;
    }
    if (!callee || e->calls > CALLS_BEFORE_ENTERING || ++e->calls <= CALLS_BEFORE_ENTERING) return 0;
    cv = code_of(callee);
    if (!cv || !can_be_entered(aTHX_ cv)) return 0;
    enter(aTHX_ e, cv);
    return 1;
}

/* Whether the sub is entered, now at the latest; NULL is none. Another one is left. */
PERL_STATIC_INLINE int is_entered(pTHX_ pxs_entered *e, SV *callee) {
    return LIKELY(e->cv && e->callee == callee) || enters(aTHX_ e, callee);
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
static int is_entered(pTHX_ pxs_entered *e, SV *callee) {
    PERL_UNUSED_VAR(e);
    PERL_UNUSED_VAR(callee);
    return 0;
}
static void run_entered(pTHX_ pxs_entered *e, uint32_t count) {
    PERL_UNUSED_VAR(e);
    PERL_UNUSED_VAR(count);
}

#endif

#endif
