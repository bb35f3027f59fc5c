/* tasks.cpp - see tasks.h. llama.cpp's graph is reached by one door that is open to everybody: the
 * callback that a context calls for every node, before and after it is computed. */
#include "tasks.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <stdexcept>

static const int64_t STAGED = 1 << 20; /* weights on their way through memory, at most; but a row at least */

static void must(emr_status status, const emr_error &error)
{
    if (status)
        throw std::runtime_error(error.text);
}

static std::string quoted(const std::string &name)
{
    return "'" + name + "'";
}

static emr_handle<emr_model> open_checkpoint(const std::string &path)
{
    emr_error error;
    emr_model *model;
    emr_checkpoint_read_options options = EMR_INIT(emr_checkpoint_read_options);
    options.map = 1;
    must(emr_checkpoint_open(&model, path.c_str(), &options, &error), error);
    return emr_handle<emr_model>(model);
}

static emr_bundle_info info_of(const emr_bundle *bundle)
{
    emr_bundle_info info = EMR_INIT(emr_bundle_info);
    emr_bundle_get_info(bundle, &info);
    return info;
}

/* A function that a context calls with every node. */
using node_visitor = std::function<void(ggml_tensor *)>;

static bool visit_node(ggml_tensor *node, bool ask, void *visitor)
{
    if (ask)
        (*(const node_visitor *)visitor)(node);
    return false;
}

/* -------------------------------------------------------------------------------- what belongs together */

llama_tasks::llama_tasks(const std::string &path, llama_model *model, const std::string &model_file,
                         unsigned threads)
    : model_path(model_file)
{
    emr_error error;
    emr_pool_options pool_options = EMR_INIT(emr_pool_options);
    pool_options.threads = threads;
    emr_pool *p;
    must(emr_pool_create(&p, &pool_options, &error), error);
    pool.reset(p);
    emr_bundle_options bundle_options = EMR_INIT(emr_bundle_options);
    bundle_options.map = 1;
    emr_bundle *b;
    must(emr_bundle_open_file(&b, path.c_str(), &bundle_options, &error), error);
    bundle.reset(b);
    compare_with_model();
    find_uses(model);
}

/* The bundle's base and the model's file: every merged tensor is there in the same shape; and where the file has
 * it in the base's own type, as quantised files have norms, it has the same bytes. */
void llama_tasks::compare_with_model()
{
    const std::string differs =
        std::string(emr_bundle_name(bundle.get())) + " is of another model than " + model_path;
    const emr_handle<emr_model> model = open_checkpoint(model_path);
    const emr_bundle_info info = info_of(bundle.get());
    for (uint32_t i = 0; i < info.n_merged; i++) {
        emr_tensor_info tensor = EMR_INIT(emr_tensor_info);
        emr_bundle_get_tensor(bundle.get(), i, &tensor);
        const emr_tensor *there = emr_model_find_tensor(model.get(), tensor.name);
        if (!there)
            throw std::runtime_error(differs + ", which has no tensor " + quoted(tensor.name));
        uint64_t count = emr_tensor_count(there);
        emr_gguf_blocks(there, &count);
        if (count != tensor.count)
            throw std::runtime_error(differs + ": tensor " + quoted(tensor.name) +
                                     " has another shape there");
    }

    struct comparison {
        const emr_bundle *bundle;
        const emr_model *model;
        std::string other; /* the first tensor that no rounding has changed */
    } compared = {bundle.get(), model.get(), ""};
    emr_base_check_options check = EMR_INIT(emr_base_check_options);
    check.user = &compared;
    check.differs = [](void *user, const emr_base_difference *difference) {
        comparison &c = *(comparison *)user;
        emr_tensor_info tensor = EMR_INIT(emr_tensor_info);
        uint32_t number;
        const emr_tensor *there = emr_model_find_tensor(c.model, difference->tensor);
        if (there && c.other.empty() &&
            !emr_bundle_find_tensor(c.bundle, difference->tensor, &number, NULL) &&
            !emr_bundle_get_tensor(c.bundle, number, &tensor) && tensor.merged &&
            emr_tensor_dtype(there) == tensor.dtype)
            c.other = difference->tensor;
    };
    emr_error error;
    const emr_status status = emr_bundle_check_base(bundle.get(), model.get(), &check, &error);
    model_is_base = status == EMR_OK;
    if (status != EMR_EMISMATCH)
        must(status, error);
    if (!compared.other.empty())
        throw std::runtime_error(differs + ", whose tensor " + quoted(compared.other) +
                                 " is not that of the bundle's base");
}

void llama_tasks::open_session(emr_session_options &options)
{
    emr_error error;
    emr_session *s;
    emr_resources resources = EMR_INIT(emr_resources);
    resources.executor = emr_pool_executor(pool.get());
    options.resources = &resources;
    must(emr_session_create(&s, bundle.get(), base.get(), &options, &error), error);
    session.reset(s);
}

uint32_t llama_tasks::find(const std::string &name) const
{
    emr_error error;
    uint32_t task;
    if (!emr_bundle_find_task(bundle.get(), name.c_str(), &task, &error))
        return task;
    if (name == "base")
        return EMR_BASE;
    std::string all;
    const emr_bundle_info info = info_of(bundle.get());
    for (uint32_t i = 0; i < info.n_tasks; i++) {
        emr_task_info one = EMR_INIT(emr_task_info);
        emr_bundle_get_task(bundle.get(), i, &one);
        all += quoted(one.name) + ", ";
    }
    throw std::runtime_error(std::string(emr_bundle_name(bundle.get())) + " has no task " + quoted(name) +
                             ": there are " + all + "and 'base'");
}

/* Lets one token through a small context to see which tensors the graph works with. */
void llama_tasks::find_uses(llama_model *model)
{
    const node_visitor visitor = [this](ggml_tensor *node) {
        for (ggml_tensor *source : node->src)
            if (source)
                note_use(source);
    };
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 64;
    params.n_batch = params.n_ubatch = 1;
    params.n_seq_max = 1;
    params.cb_eval = visit_node;
    params.cb_eval_user_data = (void *)&visitor;
    std::unique_ptr<llama_context, decltype(&llama_free)> context(llama_init_from_model(model, params),
                                                                  llama_free);
    llama_token token = std::max(0, llama_vocab_bos(llama_model_get_vocab(model)));
    if (!context || llama_decode(context.get(), llama_batch_get_one(&token, 1)))
        throw std::runtime_error("llama.cpp cannot run " + model_path);
    const emr_bundle_info info = info_of(bundle.get());
    for (uint32_t i = 0; i < info.n_merged; i++) {
        emr_tensor_info tensor = EMR_INIT(emr_tensor_info);
        emr_bundle_get_tensor(bundle.get(), i, &tensor);
        if (!uses.count(tensor.name))
            throw std::runtime_error("tensor " + quoted(tensor.name) + " of " +
                                     emr_bundle_name(bundle.get()) +
                                     " was not found in llama.cpp's graph, which makes something else of it");
    }
}

/* Whether a tensor of that name is private to a task. */
static bool private_to(const emr_bundle *bundle, uint32_t task, const char *name, uint64_t count)
{
    emr_private_info info = EMR_INIT(emr_private_info);
    for (uint32_t i = 0; !emr_bundle_get_private(bundle, task, i, &info); i++) {
        uint64_t n = 1;
        for (uint32_t d = 0; d < info.rank; d++)
            n *= info.shape[d];
        if (strcmp(info.name, name))
            continue;
        if (n != count)
            throw std::runtime_error("a task has its own tensor " + quoted(name) +
                                     " in another shape than the model, which cannot become it");
        return true;
    }
    return false;
}

void llama_tasks::note_use(ggml_tensor *tensor)
{
    use u = {tensor->name, 0, false, {}};
    if (!tensor->name[0] || tensor->view_src)
        return;
    const auto known = uses.find(tensor->name);
    if (known != uses.end()) {
        auto &all = known->second.tensors;
        if (std::none_of(all.begin(), all.end(), [&](ggml_tensor *t) { return t->data == tensor->data; }))
            all.push_back(tensor);
        return;
    }
    emr_tensor_info info = EMR_INIT(emr_tensor_info);
    u.merged = !emr_bundle_find_tensor(bundle.get(), tensor->name, &u.number, NULL) &&
               !emr_bundle_get_tensor(bundle.get(), u.number, &info) && info.merged;
    bool owned = false;
    for (uint32_t i = 0; i < info_of(bundle.get()).n_tasks && !u.merged; i++)
        owned |= private_to(bundle.get(), i, tensor->name, (uint64_t)ggml_nelements(tensor));
    if (!u.merged && !owned)
        return;
    u.tensors.push_back(tensor);
    uses.emplace(u.name, u);
}

/* -------------------------------------------------------------------------------------------- switching */

/* A float's dtype, or 0. */
static emr_dtype float_of(ggml_type type)
{
    switch (type) {
    case GGML_TYPE_F32:
        return EMR_DTYPE_F32;
    case GGML_TYPE_F16:
        return EMR_DTYPE_F16;
    case GGML_TYPE_BF16:
        return EMR_DTYPE_BF16;
    default:
        return 0;
    }
}

/* Where nothing else is said, the model's file serves, or what the bundle has embedded. */
void llama_tasks::open_base(const std::string &path)
{
    if (!path.empty() || model_is_base)
        base = open_checkpoint(path.empty() ? model_path : path);
    else if (!info_of(bundle.get()).has_base)
        throw std::runtime_error(model_path + " is not the base of " + emr_bundle_name(bundle.get()) +
                                 ", from which weights are computed: name it with --base, or use --products");
    emr_session_options options = EMR_INIT(emr_session_options);
    options.check =
        path.empty() && model_is_base ? EMR_BASE_CHECK_NONE : EMR_BASE_CHECK_FIRST; /* it has been checked */
    open_session(options);
    for (const auto &[name, u] : uses)
        for (const ggml_tensor *tensor : u.tensors)
            if (!float_of(tensor->type) && ggml_quantize_requires_imatrix(tensor->type))
                throw std::runtime_error(
                    "tensor " + quoted(name) + " of " + model_path + " is " + ggml_type_name(tensor->type) +
                    ", which is only made with statistics of activations: use --products");
}

/* A tensor that libemr does not write by itself: one of another quantised type, or on a device. */
struct staged_tensor {
    ggml_tensor *tensor;
    std::vector<uint8_t> blocks;
};

/* Takes whole rows, rounds them as llama-quantize does, and hands them to ggml. */
static emr_status take_rows(const emr_weights_part *part, emr_error *)
{
    staged_tensor &staged = *(staged_tensor *)part->user;
    ggml_tensor *tensor = staged.tensor;
    const int64_t columns = tensor->ne[0], first = (int64_t)part->first / columns,
                  n = (int64_t)part->count / columns;
    const size_t row_bytes = ggml_row_size(tensor->type, columns);
    const void *rows = part->data;
    if (!float_of(tensor->type)) {
        staged.blocks.resize((size_t)n * row_bytes);
        ggml_quantize_chunk(tensor->type, (const float *)part->data, staged.blocks.data(), 0, n, columns,
                            NULL);
        rows = staged.blocks.data();
    }
    ggml_backend_tensor_set(tensor, rows, (size_t)first * row_bytes, (size_t)n * row_bytes);
    return EMR_OK;
}

void llama_tasks::switch_to(uint32_t task)
{
    if (current == task)
        return;
    emr_error error;
    std::vector<emr_weights> weights;
    current.reset();
    for (const auto &[name, u] : uses)
        for (ggml_tensor *tensor : u.tensors) {
            emr_weights w = EMR_INIT(emr_weights);
            w.name = u.name.c_str();
            w.data = tensor->data;
            w.count = (uint64_t)ggml_nelements(tensor);
            w.dtype = float_of(tensor->type);
            if (emr_block_bytes(tensor->type))
                w.blocks = tensor->type; /* numbers are ggml's */
            if ((w.dtype || w.blocks) && ggml_backend_buffer_is_host(tensor->buffer)) {
                weights.push_back(w);
                continue;
            }
            w.blocks = EMR_BLOCK_TYPE_NONE;
            staged_tensor staged = {tensor, {}};
            staging.resize((size_t)(std::max<int64_t>(1, STAGED / tensor->ne[0]) * tensor->ne[0]));
            w.data = staging.data();
            w.staging = staging.size();
            w.dtype = w.dtype ? w.dtype : (emr_dtype)EMR_DTYPE_F32;
            w.write = take_rows;
            w.user = &staged;
            must(emr_session_apply(session.get(), task, &w, 1, &error), error);
        }
    must(emr_session_apply(session.get(), task, weights.data(), weights.size(), &error), error);
    current = task;
}

/* --------------------------------------------------------------------------------------------- products */

void llama_tasks::open_products()
{
    emr_session_options options = EMR_INIT(emr_session_options);
    options.without_base = 1;
    open_session(options);
    for (const auto &[name, u] : uses)
        norms |= u.merged && ggml_n_dims(u.tensors[0]) == 1;
}

void llama_tasks::refuse_private(uint32_t task) const
{
    for (const auto &[name, u] : uses)
        if (!u.merged && task != EMR_BASE &&
            private_to(bundle.get(), task, name.c_str(), (uint64_t)ggml_nelements(u.tensors[0])))
            throw std::runtime_error("a task has a tensor of its own, " + quoted(name) +
                                     ", which is no change of the base: switch to it instead");
}

void llama_tasks::begin_batch(const llama_batch &batch, const std::vector<uint32_t> &tasks)
{
    failure.clear();
    token_tasks = tasks;
    output_tasks.clear();
    tokens.assign(batch.token, batch.token + batch.n_tokens);
    for (int32_t i = 0; i < batch.n_tokens; i++) {
        if (i == 0 || tasks[(size_t)i] != tasks[(size_t)i - 1])
            refuse_private(tasks[(size_t)i]);
        if (batch.logits[i])
            output_tasks.push_back(tasks[(size_t)i]);
    }
}

void llama_tasks::check() const
{
    if (!failure.empty())
        throw std::runtime_error(failure);
}

/* Nothing may be thrown through llama.cpp: what fails is kept for check(), and the graph is left. */
bool llama_tasks::eval(ggml_tensor *node, bool ask, void *user)
{
    llama_tasks &self = *(llama_tasks *)user;
    try {
        if (ask)
            return self.failure.empty() && self.wants(node);
        self.add_change(node);
    } catch (const std::exception &e) {
        self.failure = e.what();
    }
    return self.failure.empty();
}

const llama_tasks::use *llama_tasks::merged_use(const ggml_tensor *tensor) const
{
    const ggml_tensor *whole = tensor && tensor->view_src ? tensor->view_src : tensor;
    const auto found = whole ? uses.find(whole->name) : uses.end();
    if (found == uses.end() || !found->second.merged)
        return nullptr;
    if (whole != tensor)
        throw std::runtime_error("llama.cpp's graph works with a part of tensor " + quoted(whole->name) +
                                 ", which is not known here: switch instead");
    return &found->second;
}

/* The operand that is a weight, by what the node does with it. */
static int weight_operand(const ggml_tensor *node)
{
    switch (node->op) {
    case GGML_OP_MUL_MAT:
    case GGML_OP_GET_ROWS:
        return 0;
    case GGML_OP_MUL:
    case GGML_OP_ADD:
        return 1;
    default:
        return -1;
    }
}

/* Whether a node is to be looked at when it has been computed. A norm too: the product with its weights,
 * which comes next, may be written over it. */
bool llama_tasks::wants(ggml_tensor *node)
{
    for (int i = 0; i < GGML_MAX_SRC; i++)
        if (const use *u = merged_use(node->src[i])) {
            if (i != weight_operand(node))
                throw std::runtime_error("llama.cpp's graph uses tensor " + quoted(u->name) +
                                         " in an operation, " + ggml_op_desc(node) +
                                         ", which is not known here: switch instead");
            return true;
        }
    return norms && (node->op == GGML_OP_RMS_NORM || node->op == GGML_OP_NORM);
}

void llama_tasks::add_change(ggml_tensor *node)
{
    if (!ggml_backend_buffer_is_host(node->view_src ? node->view_src->buffer : node->buffer))
        throw std::runtime_error("products are added by the processor, but " + quoted(node->name) +
                                 " lies on a device: keep all layers off it");
    if (node->type != GGML_TYPE_F32 || !ggml_is_contiguous(node))
        throw std::runtime_error(quoted(node->name) + " is not in F32, row after row");
    if (node->op == GGML_OP_RMS_NORM || node->op == GGML_OP_NORM) {
        const float *values = (const float *)node->data;
        normed.assign(values, values + ggml_nelements(node));
        normed_from = node;
        return;
    }
    const use &u = *merged_use(node->src[weight_operand(node)]);
    if (node->op == GGML_OP_MUL_MAT)
        add_product(u, node);
    else if (node->op == GGML_OP_GET_ROWS)
        add_rows(u, node);
    else if (node->op == GGML_OP_MUL)
        scale_rows(u, node);
    else
        add_bias(u, node);
}

/* A node has a row for each token of the batch; behind the last attention, where the graph drops the
 * others, for each token whose logits are asked for; or several rows for each token, one for each head. */
llama_tasks::rows llama_tasks::tasks_of(const ggml_tensor *node)
{
    const size_t n_tokens = tokens.size();
    if (node->ne[3] == 1 && node->ne[2] == (int64_t)n_tokens) {
        spread.clear();
        for (uint32_t task : token_tasks)
            spread.insert(spread.end(), (size_t)node->ne[1], task);
        return {spread.data(), spread.size()};
    }
    const bool matrix = node->ne[2] == 1 && node->ne[3] == 1;
    for (const std::vector<uint32_t> *tasks : {&token_tasks, &output_tasks})
        if (matrix && node->ne[1] == (int64_t)tasks->size())
            return {tasks->data(), tasks->size()};
    throw std::runtime_error(quoted(node->name) +
                             " of llama.cpp's graph has not a row for each token of the batch");
}

static void add_to(ggml_tensor *node, const std::vector<float> &change)
{
    float *out = (float *)node->data;
    for (size_t i = 0; i < change.size(); i++)
        out[i] += change[i];
}

void llama_tasks::add_product(const use &u, ggml_tensor *node)
{
    const ggml_tensor *x = node->src[1];
    const rows r = tasks_of(node);
    const size_t width = (size_t)node->ne[0];
    if (x->type != GGML_TYPE_F32 || x->nb[0] != sizeof(float) || (x->ne[2] != 1 && !ggml_is_contiguous(x)))
        throw std::runtime_error(quoted(x->name) + " is not in F32, vector after vector");
    change.resize(r.n * width);
    emr_error error;
    emr_product product = EMR_INIT(emr_product);
    product.tensor = u.number;
    product.without_base = 1;
    product.x = (const float *)x->data;
    product.x_stride = x->nb[1] / sizeof(float);
    product.y = change.data();
    product.batch = r.n;
    product.n_rows = width;
    must(emr_session_multiply(session.get(), r.tasks, &product, &error), error);
    add_to(node, change);
}

/* Rows of what tasks change in a tensor, into `change`. */
void llama_tasks::changes_of(const use &u, const uint32_t *tasks, const uint64_t *rows, size_t n,
                             size_t width)
{
    change.resize(n * width);
    emr_error error;
    emr_gather gather = EMR_INIT(emr_gather);
    gather.tensor = u.number;
    gather.without_base = 1;
    gather.tasks = tasks;
    gather.rows = rows;
    gather.n = n;
    gather.out = change.data();
    gather.dtype = EMR_DTYPE_F32;
    must(emr_session_gather(session.get(), &gather, &error), error);
}

/* The embedding's rows for tokens, which also say whether the graph has the batch whole and in order. */
void llama_tasks::add_rows(const use &u, ggml_tensor *node)
{
    const ggml_tensor *ids = node->src[1];
    if (ids->type != GGML_TYPE_I32 || ggml_nelements(ids) != (int64_t)tokens.size() ||
        memcmp(ids->data, tokens.data(), tokens.size() * sizeof tokens[0]))
        throw std::runtime_error(
            "llama.cpp has split the batch, or changed its order: n_ubatch must be as large as it, "
            "and kv_unified set");
    const std::vector<uint64_t> wanted(tokens.begin(), tokens.end());
    changes_of(u, token_tasks.data(), wanted.data(), wanted.size(), (size_t)node->ne[0]);
    add_to(node, change);
}

/* A norm's weights: the product is computed once more, with weights of the row's task. */
void llama_tasks::scale_rows(const use &u, ggml_tensor *node)
{
    const ggml_tensor *weights = node->src[1];
    const size_t width = (size_t)node->ne[0];
    if (node->src[0] != normed_from || weights->type != GGML_TYPE_F32 ||
        ggml_nelements(weights) != node->ne[0])
        throw std::runtime_error("tensor " + quoted(u.name) + " scales what is not a norm's: switch instead");
    const rows r = tasks_of(node);
    changes_of(u, r.tasks, NULL, r.n, width);
    const float *w = (const float *)weights->data;
    float *out = (float *)node->data;
    for (size_t i = 0; i < change.size(); i++)
        out[i] = normed[i] * (w[i % width] + change[i]);
}

void llama_tasks::add_bias(const use &u, ggml_tensor *node)
{
    if (ggml_nelements(node->src[1]) != node->ne[0])
        throw std::runtime_error("tensor " + quoted(u.name) + " is added, but is not a bias: switch instead");
    const rows r = tasks_of(node);
    changes_of(u, r.tasks, NULL, r.n, (size_t)node->ne[0]);
    add_to(node, change);
}
