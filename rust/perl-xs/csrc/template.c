/* Nested results that are built once and reused while nobody kept or changed a part of them. */
#include "pxs.h"

enum { NODE_HASH, NODE_ARRAY, NODE_INT, NODE_STR, NODE_UNDEF };

/* as Rust describes a node, in pre-order */
typedef struct {
    uint32_t kind, count, leaf;
    pxs_bytes key, text;
} pxs_node;

typedef struct {
    /* the description */
    uint32_t kind, count, leaf;
    uint32_t parent, index; /* whose child, and which */
    SV *key;                /* shared string, if the parent is a hash */
    U32 hash;
    SV *text; /* shared string */
    /* what was built, with one count of ours on each, and how it looked then */
    SV *sv;  /* the container or leaf */
    SV *rv;  /* the reference to the container */
    HE *entry;
    U32 flags, rv_flags;
    char *pv;
} pxs_tnode;

/* A word of memory that tells whether a structure is as it was built, and what it held then. */
typedef struct {
    const char *at;
    size_t was;
} pxs_word;

/* Where the value of a leaf lies in perl, and where its next one comes from. */
typedef struct {
    IV *to;
    const int64_t *from;
} pxs_leaf;

struct pxs_template {
    uint32_t count;
    int built;
    size_t builds;
    int64_t *leaves;
    pxs_tnode *nodes;
    /* of what was built */
    size_t nwords, nints;
    pxs_word *words;
    pxs_leaf *ints;
};

#define IS_CONTAINER(node) ((node)->kind <= NODE_ARRAY)

/* A scalar's count and flags, which lie side by side; how many words they take. */
#define HEAD_SIZE (offsetof(SV, sv_flags) + sizeof(U32) - offsetof(SV, sv_refcnt))
#define HEAD_WORDS (HEAD_SIZE / sizeof(size_t))
typedef char pxs_a_head_is_whole_words[HEAD_SIZE == 2 * sizeof(U32) && HEAD_SIZE % sizeof(size_t) == 0 ? 1 : -1];

/* The most words that tell of a node: two heads, where it lies, what the reference refers to, an array's elements and number. */
#define MAX_WORDS (2 * HEAD_WORDS + 4)

/* So many words are compared between two looks at whether there are more. */
#define WORDS_AT_ONCE 4

pxs_template *pxs_template_new(PXS_PERL, const pxs_node *nodes, size_t count, size_t leaves) {
    pxs_template *t;
    uint32_t i, parent = 0, *seen;
    Newxz(t, 1, pxs_template);
    Newxz(t->leaves, leaves + 1, int64_t);
    Newxz(t->nodes, count, pxs_tnode);
    Newx(t->words, count * MAX_WORDS + WORDS_AT_ONCE - 1, pxs_word);
    Newx(t->ints, count, pxs_leaf);
    Newxz(seen, count, uint32_t); /* how many children of each container have come */
    t->count = (uint32_t)count;
    for (i = 0; i < t->count; i++) {
        pxs_tnode *node = &t->nodes[i];
        node->kind = nodes[i].kind;
        node->count = nodes[i].count;
        node->leaf = nodes[i].leaf;
        if (node->kind == NODE_STR) node->text = newSVpvn_share(nodes[i].text.ptr, (I32)nodes[i].text.len, 0);
        if (i > 0) {
            while (seen[parent] == t->nodes[parent].count) parent = t->nodes[parent].parent;
            node->parent = parent;
            node->index = seen[parent]++;
            if (t->nodes[parent].kind == NODE_HASH) {
                node->key = newSVpvn_share(nodes[i].key.ptr, (I32)nodes[i].key.len, 0);
                node->hash = SvSHARED_HASH(node->key);
            }
        }
        if (IS_CONTAINER(node)) parent = i;
    }
    Safefree(seen);
    return t;
}

int64_t *pxs_template_leaves(pxs_template *t) { return t->leaves; }
size_t pxs_template_rebuilds(const pxs_template *t) { return t->builds; }

/* Lets the structure go; what others kept of it is theirs. */
static void forget(pTHX_ pxs_template *t, void (*dec)(pTHX_ SV *sv)) {
    uint32_t i;
    t->built = 0;
    for (i = t->count; i-- > 0;) {
        SV *sv = t->nodes[i].sv, *rv = t->nodes[i].rv;
        t->nodes[i].sv = t->nodes[i].rv = NULL; /* before freeing, which may run code that dies */
        if (sv) dec(aTHX_ sv);
        if (rv) dec(aTHX_ rv);
    }
}

static SV *new_leaf(pTHX_ const pxs_template *t, const pxs_tnode *node) {
    switch (node->kind) {
    case NODE_INT: return newSViv((IV)t->leaves[node->leaf]);
    case NODE_STR: return newSVhek(SvSHARED_HEK_FROM_PV(SvPVX(node->text)));
    default: return newSV(0);
    }
}

/* Builds the node at *at and what is below it, and moves *at behind it. With hold, remembers it all. */
static SV *build(pTHX_ pxs_template *t, uint32_t *at, int hold) {
    pxs_tnode *node = &t->nodes[(*at)++];
    SV *sv, *rv = NULL;
    uint32_t i;
    if (!IS_CONTAINER(node)) {
        sv = new_leaf(aTHX_ t, node);
    } else {
        if (node->kind == NODE_HASH) {
            HV *hv = newHV();
            for (i = 0; i < node->count; i++) {
                pxs_tnode *child = &t->nodes[*at];
                child->entry = (HE *)hv_common(hv, child->key, NULL, 0, 0, HV_FETCH_ISSTORE, build(aTHX_ t, at, hold), child->hash);
            }
            sv = (SV *)hv;
        } else {
            AV *av = newAV();
            av_extend(av, (SSize_t)node->count - 1);
            for (i = 0; i < node->count; i++) av_store(av, (SSize_t)i, build(aTHX_ t, at, hold));
            sv = (SV *)av;
        }
        rv = newRV_noinc(sv);
    }
    if (hold) {
        node->sv = SvREFCNT_inc_simple_NN(sv);
        node->rv = SvREFCNT_inc(rv);
        node->flags = SvFLAGS(sv);
        node->rv_flags = rv ? SvFLAGS(rv) : 0;
        node->pv = node->kind == NODE_STR ? SvPVX(sv) : NULL;
    }
    return rv ? rv : sv;
}

SV *pxs_template_build(PXS_PERL, pxs_template *t) {
    uint32_t at = 0;
    return build(aTHX_ t, &at, 0);
}

#define LEAF_BAD \
    (SVs_GMG | SVs_SMG | SVs_RMG | SVf_READONLY | SVf_PROTECT | SVf_ROK | SVs_OBJECT | SVf_FAKE | SVf_IsCOW | SVf_UTF8)

PERL_STATIC_INLINE SV **member_slot(const pxs_template *t, const pxs_tnode *node) {
    const pxs_tnode *parent = &t->nodes[node->parent];
    return parent->kind == NODE_HASH ? &HeVAL(node->entry) : &AvARRAY((AV *)parent->sv)[node->index];
}

static void watch(pxs_template *t, const void *at) {
    pxs_word *word = &t->words[t->nwords++];
    word->at = (const char *)at;
    memcpy(&word->was, at, sizeof word->was);
}

static void watch_head(pxs_template *t, const SV *sv) {
    size_t i;
    for (i = 0; i < HEAD_WORDS; i++) watch(t, (const char *)&sv->sv_refcnt + i * sizeof(size_t));
}

/* Remembers all that node_untouched would look at, of a structure that was just built. Each word lies where those before it say
 * that it does: none of them may be read when one before it has changed. */
static void watch_all(pxs_template *t) {
    uint32_t i;
    t->nwords = t->nints = 0;
    for (i = 0; i < t->count; i++) {
        const pxs_tnode *node = &t->nodes[i];
        SV *const sv = node->sv;
        if (i > 0) watch(t, member_slot(t, node));
        watch_head(t, sv);
        if (IS_CONTAINER(node)) {
            watch_head(t, node->rv);
            watch(t, &node->rv->sv_u);
        }
        if (node->kind == NODE_HASH) {
            watch(t, &((XPVHV *)SvANY(sv))->xhv_keys);
        } else if (node->kind == NODE_ARRAY) {
            watch(t, &((XPVAV *)SvANY(sv))->xav_fill);
            watch(t, &sv->sv_u);
        } else if (node->kind == NODE_STR) {
            watch(t, &sv->sv_u);
        } else if (node->kind == NODE_INT) {
            pxs_leaf *leaf = &t->ints[t->nints++];
            leaf->to = &SvIVX(sv);
            leaf->from = &t->leaves[node->leaf];
        }
    }
    while (t->nwords % WORDS_AT_ONCE) t->words[t->nwords++] = t->words[0];
}

PERL_STATIC_INLINE int is_as_it_was(const pxs_word *word) {
    size_t is;
    memcpy(&is, word->at, sizeof is);
    return LIKELY(is == word->was);
}

/* Whether all that was built looks exactly as it did. */
PERL_STATIC_INLINE int all_untouched(const pxs_template *t) {
    const pxs_word *word = t->words;
    const pxs_word *const end = word + t->nwords;
    for (; word < end; word += WORDS_AT_ONCE)
        if (!is_as_it_was(&word[0]) || !is_as_it_was(&word[1]) || !is_as_it_was(&word[2]) || !is_as_it_was(&word[3])) return 0;
    return 1;
}

/* Is the node where it was put, with nobody else knowing it, and looking as it did? Equal flags also rule out that it was
 * weakened, blessed or tied, or that an each was started on it. Only values of integer leaves may differ. */
PERL_STATIC_INLINE int node_untouched(const pxs_template *t, const pxs_tnode *node) {
    SV *const sv = node->sv, *const rv = node->rv;
    if (SvREFCNT(sv) != 2) return 0;
    if (node->kind == NODE_INT) {
        if ((SvFLAGS(sv) & LEAF_BAD) || SvTYPE(sv) > SVt_PVMG) return 0;
    } else if (SvFLAGS(sv) != node->flags) {
        return 0;
    }
    if (IS_CONTAINER(node)) {
        if (SvREFCNT(rv) != (node == t->nodes ? 1u : 2u) || SvFLAGS(rv) != node->rv_flags || SvRV(rv) != sv) return 0;
        if (node->kind == NODE_HASH ? HvTOTALKEYS((HV *)sv) != node->count : AvFILLp((AV *)sv) + 1 != (SSize_t)node->count) return 0;
    } else if (node->kind == NODE_STR && SvPVX(sv) != node->pv) {
        return 0;
    }
    if (node != t->nodes) {
        if (*member_slot(t, node) != (rv ? rv : sv)) return 0; /* the parent was checked before */
    }
    return 1;
}

static void plain_dec(pTHX_ SV *sv) { SvREFCNT_dec_NN(sv); }
static void protected_dec(pTHX_ SV *sv) { pxs_dec(sv); }

/* Something looks otherwise, if only an integer that was read as a string. */
static SV *use_touched(pTHX_ pxs_template *t, void (*dec)(pTHX_ SV *sv)) {
    uint32_t i = 0;
    if (LIKELY(t->built))
        for (; i < t->count; i++)
            if (UNLIKELY(!node_untouched(t, &t->nodes[i]))) break;
    if (UNLIKELY(!t->built || i < t->count)) {
        SV *rv;
        uint32_t at = 0;
        forget(aTHX_ t, dec);
        rv = build(aTHX_ t, &at, 1);
        SvREFCNT_dec_NN(rv); /* the root's is the one in nodes[0] */
        watch_all(t);
        t->built = 1;
        t->builds++;
        return rv;
    }
    for (i = 0; i < t->count; i++) {
        const pxs_tnode *node = &t->nodes[i];
        SV *sv = node->sv;
        if (node->kind != NODE_INT) continue;
        if (LIKELY(SvFLAGS(sv) == (SVt_IV | SVf_IOK | SVp_IOK))) SvIV_set(sv, (IV)t->leaves[node->leaf]);
        else sv_setiv(sv, (IV)t->leaves[node->leaf]);
    }
    return t->nodes[0].rv;
}

PERL_STATIC_INLINE SV *use(pTHX_ pxs_template *t, void (*dec)(pTHX_ SV *sv)) {
    size_t i;
    if (UNLIKELY(!t->built || !all_untouched(t))) return use_touched(aTHX_ t, dec);
    for (i = 0; i < t->nints; i++) *t->ints[i].to = (IV)*t->ints[i].from;
    return t->nodes[0].rv;
}

SV *pxs_template_use(pTHX_ pxs_template *t) { return use(aTHX_ t, plain_dec); }

/* As pxs_template_use, outside of protected code, and with a count for the caller, who gives it back before the next use. */
SV *pxs_template_lend(PXS_PERL, pxs_template *t) {
    SV *rv = use(aTHX_ t, protected_dec);
    return SvREFCNT_inc_simple_NN(rv);
}

void pxs_template_free(pxs_template *t) {
    uint32_t i;
    dTHX;
    forget(aTHX_ t, protected_dec);
    for (i = 0; i < t->count; i++) {
        if (t->nodes[i].key) pxs_dec(t->nodes[i].key);
        if (t->nodes[i].text) pxs_dec(t->nodes[i].text);
    }
    Safefree(t->words);
    Safefree(t->ints);
    Safefree(t->nodes);
    Safefree(t->leaves);
    Safefree(t);
}
