/* Lists of rows, [int, string, string, value, int] each; arrays and scalars are reused while nobody kept them. */
#include "pxs.h"
#include "slots.h"

/* as Rust describes a row */
typedef struct {
    int64_t first;
    pxs_bytes a, b;
    SV *value; /* its count is the row's; NULL: undef */
    int64_t last;
    uint32_t text; /* ROW_A_TEXT, ROW_B_TEXT */
} pxs_row;

struct pxs_rows {
    SV *list; /* a reference to the array, ours alone between two uses unless somebody kept it */
    const pxs_row *rows;
    size_t count;
};

/* the string is UTF-8 */
enum { ROW_A_TEXT = 1, ROW_B_TEXT = 2 };

enum { ROW_FIRST, ROW_A, ROW_B, ROW_VALUE, ROW_LAST, ROW_FIELDS };

/* A string longer than this is not written into a row that is kept: rows are many. */
#define KEPT_STRING 4096

pxs_rows *pxs_rows_new(void) {
    pxs_rows *r;
    Newxz(r, 1, pxs_rows);
    return r;
}

/* What the next use shows. The rows must stay where they are until then. */
void pxs_rows_set(pxs_rows *r, const pxs_row *rows, size_t count) {
    r->rows = rows;
    r->count = count;
}

void pxs_rows_free(pxs_rows *r) {
    SV *list = r->list;
    r->list = NULL;
    if (list) pxs_dec(list);
    Safefree(r);
}

#define IS_OUR_ARRAY(sv) \
    (SvTYPE(sv) == SVt_PVAV && SvREFCNT(sv) == 1 && AvREAL((AV *)(sv)) \
     && !(SvFLAGS(sv) & (SVs_OBJECT | SVs_GMG | SVs_SMG | SVs_RMG | SVf_READONLY | SVf_PROTECT)) && !SvMAGIC(sv))
#define IS_OUR_REF(sv) (SvFLAGS(sv) == (SVt_IV | SVf_ROK) && SvREFCNT(sv) == 1)

/* The array behind a reference, if both are as they were made and nobody else knows them. */
PERL_STATIC_INLINE AV *our_array(SV *ref) {
    return ref && IS_OUR_REF(ref) && IS_OUR_ARRAY(SvRV(ref)) ? (AV *)SvRV(ref) : NULL;
}

static AV *new_row(pTHX) {
    AV *row = newAV();
    av_extend(row, ROW_FIELDS - 1);
    return row;
}

PERL_STATIC_INLINE void row_string(pTHX_ SV **slot, const pxs_bytes *bytes, int is_text) {
    SV *old = *slot;
    if (UNLIKELY(old && SvTYPE(old) >= SVt_PV && SvLEN(old) > KEPT_STRING)) {
        *slot = NULL;
        SvREFCNT_dec_NN(old);
    }
    if (UNLIKELY(is_text)) slot_text(aTHX_ slot, bytes->ptr, bytes->len);
    else if (bytes->ptr) slot_bytes(aTHX_ slot, bytes->ptr, bytes->len);
    else slot_undef(aTHX_ slot);
}

static void fill(pTHX_ AV *row, pxs_row *from) {
    SV **fields;
    while (AvFILLp(row) >= ROW_FIELDS) SvREFCNT_dec(av_pop(row));
    if (AvMAX(row) < ROW_FIELDS - 1) av_extend(row, ROW_FIELDS - 1);
    fields = AvARRAY(row);
    while (AvFILLp(row) < ROW_FIELDS - 1) fields[++AvFILLp(row)] = NULL;
    slot_int(aTHX_ &fields[ROW_FIRST], (IV)from->first);
    row_string(aTHX_ &fields[ROW_A], &from->a, from->text & ROW_A_TEXT);
    row_string(aTHX_ &fields[ROW_B], &from->b, from->text & ROW_B_TEXT);
    if (from->value) {
        SV *old = fields[ROW_VALUE];
        fields[ROW_VALUE] = from->value;
        from->value = NULL;
        SvREFCNT_dec(old);
    } else {
        slot_undef(aTHX_ &fields[ROW_VALUE]);
    }
    slot_int(aTHX_ &fields[ROW_LAST], (IV)from->last);
}

SV *pxs_rows_use(pTHX_ pxs_rows *r) {
    AV *list = our_array(r->list);
    size_t i;
    if (!list) {
        SV *old = r->list;
        list = newAV();
        r->list = newRV_noinc((SV *)list);
        SvREFCNT_dec(old);
    }
    while (AvFILLp(list) + 1 > (SSize_t)r->count) SvREFCNT_dec(av_pop(list));
    if (r->count) av_extend(list, (SSize_t)r->count - 1);
    for (i = 0; i < r->count; i++) {
        AV *row = (SSize_t)i <= AvFILLp(list) ? our_array(AvARRAY(list)[i]) : NULL;
        if (UNLIKELY(!row)) {
            SV *old = NULL;
            row = new_row(aTHX);
            if ((SSize_t)i <= AvFILLp(list)) old = AvARRAY(list)[i];
            else AvFILLp(list)++;
            AvARRAY(list)[i] = newRV_noinc((SV *)row);
            SvREFCNT_dec(old);
        }
        fill(aTHX_ row, (pxs_row *)&r->rows[i]);
    }
    return r->list;
}
