/* role.c - looks the rules up: is a tensor a code, a side-car of one, or a number that is no weight? */
#include "role/role.h"

#include "core/structs.h"
#include "core/text.h"

#include <string.h>

static const emr_code_rule *const code_tables[] = {emr_float8_rules, emr_integer_rules, emr_packed_rules};
enum { N_CODE_TABLES = sizeof code_tables / sizeof code_tables[0] };

/* Side-cars without which the product of a code and its scales is not the weights. */
static const emr_renaming obstacles[] = {
    EMR_RENAMING("", "_zero_point"),
    EMR_RENAMING("", "_scale_2"),
    EMR_RENAMING("", "_g_idx"),
    EMR_RENAMING("weight", "pre_quant_scale"),
};

static bool is_letter(char c)
{
    return c != '.' && c != '_';
}

/* Whether a name of n bytes has that ending, and something before it unless it is a whole part. */
static bool ends_in_part(const char *name, size_t n, const char *ending, size_t bytes)
{
    if (bytes > n || (bytes && name[n - 1] != ending[bytes - 1]) ||
        memcmp(name + n - bytes, ending, bytes) != 0)
        return false;
    if (bytes && is_letter(*ending))
        return n == bytes || name[n - bytes - 1] == '.';
    return n > bytes;
}

static const emr_tensor *find_renamed(const emr_tensor *t, size_t n, const char *from, size_t from_bytes,
                                      const char *to, size_t to_bytes)
{
    char name[EMR_ROLE_NAME_MAX];
    if (!ends_in_part(t->name, n, from, from_bytes) || n - from_bytes + to_bytes >= sizeof name)
        return NULL;
    memcpy(name, t->name, n - from_bytes);
    memcpy(name + n - from_bytes, to, to_bytes);
    name[n - from_bytes + to_bytes] = '\0';
    return emr_model_find_tensor(t->model, name);
}

const emr_tensor *emr_role_partner(const emr_tensor *t, const emr_renaming *r)
{
    return find_renamed(t, emr_text_length(t->name), r->from, r->from_bytes, r->to, r->to_bytes);
}

static bool has_dtype(const emr_tensor *t, uint64_t dtypes)
{
    return dtypes >> t->dtype & 1;
}

/* The family of a code by this rule, and its key; NULL if it is none. */
static const emr_code_family *family_by_rule(const emr_tensor *t, const emr_code_rule *rule,
                                             const emr_tensor **key)
{
    if (!has_dtype(t, rule->code_dtypes) || (rule->is_code && !rule->is_code(t)))
        return NULL;
    *key = emr_role_partner(t, &rule->key);
    return *key && *key != t && has_dtype(*key, rule->key_dtypes) ? rule->family(t, *key) : NULL;
}

/* The first rule by which a tensor is a code, or NULL. */
static const emr_code_rule *rule_of_code(const emr_tensor *t, emr_found_role *found)
{
    for (size_t i = 0; i < N_CODE_TABLES; i++) {
        for (const emr_code_rule *rule = code_tables[i]; rule->key.to; rule++) {
            const emr_tensor *key;
            const emr_code_family *family = family_by_rule(t, rule, &key);
            if (!family)
                continue;
            *found =
                (emr_found_role){EMR_ROLE_CODE, family->name, family->code_reason, t, key, family, false};
            found->can_dequantise =
                family->scaling == EMR_SCALING_PRODUCT || family->scaling == EMR_SCALING_SCB;
            for (size_t k = 0; k < sizeof obstacles / sizeof obstacles[0]; k++)
                if (found->can_dequantise && emr_role_partner(t, &obstacles[k]))
                    found->can_dequantise = false;
            return rule;
        }
    }
    return NULL;
}

/* Whether it is a side-car by this renaming: its code must be one by this very rule. */
static bool is_sidecar(const emr_tensor *t, size_t n, const emr_code_rule *rule, const emr_renaming *r,
                       emr_found_role *found)
{
    const emr_tensor *code = find_renamed(t, n, r->to, r->to_bytes, r->from, r->from_bytes);
    emr_found_role of_code;
    if (!code || code == t || rule_of_code(code, &of_code) != rule)
        return false;
    *found = of_code;
    found->role = EMR_ROLE_SIDECAR;
    found->reason = of_code.family->sidecar_reason;
    return true;
}

static bool find_sidecar(const emr_tensor *t, size_t n, emr_found_role *found)
{
    for (size_t i = 0; i < N_CODE_TABLES; i++) {
        for (const emr_code_rule *rule = code_tables[i]; rule->key.to; rule++) {
            if (is_sidecar(t, n, rule, &rule->key, found))
                return true;
            for (const emr_renaming *r = rule->sidecars; r && r->to; r++)
                if (is_sidecar(t, n, rule, r, found))
                    return true;
        }
    }
    return false;
}

static bool find_plain_number(const emr_tensor *t, size_t n, emr_found_role *found)
{
    for (const emr_number_rule *rule = emr_number_rules; rule->family; rule++) {
        const emr_renaming *r = &rule->partner;
        const emr_tensor *partner = NULL;
        if (!ends_in_part(t->name, n, r->from, r->from_bytes) ||
            (r->to_bytes && !(partner = emr_role_partner(t, r))) || !rule->fits(t, partner))
            continue;
        *found = (emr_found_role){.role = rule->role, .name = rule->family, .reason = rule->reason};
        return true;
    }
    return false;
}

/* The rule of the first part of a name of n bytes that has one, or NULL. */
static const emr_part_rule *find_part_rule(const char *name, size_t n)
{
    for (size_t from = 0, to; from < n; from = to + 1) {
        for (to = from; to < n && name[to] != '.'; to++)
            ;
        for (const emr_part_rule *rule = emr_part_rules; rule->part; rule++)
            if (emr_text_length(rule->part) == to - from && memcmp(name + from, rule->part, to - from) == 0)
                return rule;
    }
    return NULL;
}

emr_found_role emr_role_find(const emr_tensor *t)
{
    emr_found_role found = {.role = EMR_ROLE_WEIGHT};
    size_t n = emr_text_length(t->name);
    if (n >= EMR_ROLE_NAME_MAX)
        return found;
    const emr_part_rule *rule = find_part_rule(t->name, n);
    if (!rule && !rule_of_code(t, &found)) {
        if (find_sidecar(t, n, &found)) /* perhaps of what is no code for such a rule */
            rule = find_part_rule(found.code->name, emr_text_length(found.code->name));
        else
            find_plain_number(t, n, &found);
    }
    if (rule)
        found = (emr_found_role){.role = rule->role, .name = rule->family, .reason = rule->reason};
    return found;
}

static bool is_ending_of(const emr_renaming *r, const char *name, size_t n)
{
    return ends_in_part(name, n, r->to, r->to_bytes);
}

/* A plain float is a code by its name (or as a packed column, see below), or else a side-car or a number by
 * it. */
bool emr_role_is_possible(const char *name)
{
    size_t n = emr_text_length(name);
    for (size_t i = 0; i < N_CODE_TABLES; i++) {
        for (const emr_code_rule *rule = code_tables[i]; rule->key.to; rule++) {
            bool may_be_code = rule->key.from_bytes && rule->code_dtypes & EMR_DTYPES_FLOAT;
            if (is_ending_of(&rule->key, name, n) ||
                (may_be_code && ends_in_part(name, n, rule->key.from, rule->key.from_bytes)))
                return true;
            for (const emr_renaming *r = rule->sidecars; r && r->to; r++)
                if (is_ending_of(r, name, n))
                    return true;
        }
    }
    for (const emr_number_rule *rule = emr_number_rules; rule->family; rule++)
        if (ends_in_part(name, n, rule->partner.from, rule->partner.from_bytes))
            return true;
    return n < EMR_ROLE_NAME_MAX && find_part_rule(name, n);
}

emr_found_role emr_role_find_quickly(const emr_tensor *t, bool is_possible)
{
    bool is_column = t->rank == 2 && (t->shape[0] == 1 || t->shape[1] == 1);
    return is_possible || is_column || !has_dtype(t, EMR_DTYPES_FLOAT)
               ? emr_role_find(t)
               : (emr_found_role){.role = EMR_ROLE_WEIGHT};
}

emr_status emr_tensor_get_role(const emr_tensor *tensor, emr_tensor_role *role)
{
    if (!tensor || !role)
        return EMR_EINVAL;
    const emr_found_role found = emr_role_find_quickly(tensor, emr_role_is_possible(tensor->name));
    const emr_tensor_role given = {.family = found.name,
                                   .code = found.role == EMR_ROLE_SIDECAR ? found.code : NULL,
                                   .role = found.role,
                                   .can_dequantise = found.can_dequantise};
    return EMR_GIVE(role, &given, emr_tensor_role);
}

const char *emr_role_name(emr_role role)
{
    static const char *const names[] = {"weight", "code", "sidecar", "statistic", "constant", "magnitude"};
    return role < sizeof names / sizeof names[0] ? names[role] : "?";
}
