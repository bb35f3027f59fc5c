/* tasks.h - a bundle beside a model that llama.cpp has loaded, which then acts as any of the bundle's
 * tasks, by one of two ways:
 *
 * - switch: a task's weights are written over the model's own, in whatever type they are there; then
 *   llama.cpp computes as ever. One task at a time. It needs the bundle's base.
 * - products: the model stays as it is, quantised or not, and what the task changes is added to the
 *   result of each operation: to a product with a matrix, to rows of an embedding, to what a norm scales
 *   and a bias adds. Every token of a batch may belong to another task. It needs no base at all.
 *
 * Failures are std::runtime_error with a sentence for people. */
#ifndef EMR_LLAMA_TASKS_H
#define EMR_LLAMA_TASKS_H

#include <emr/emr.h>
#include <llama.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct emr_free {
    void operator()(emr_pool *p) const
    {
        emr_pool_destroy(&p);
    }
    void operator()(emr_model *m) const
    {
        emr_model_destroy(&m);
    }
    void operator()(emr_bundle *b) const
    {
        emr_bundle_destroy(&b);
    }
    void operator()(emr_session *s) const
    {
        emr_session_destroy(&s);
    }
};
template <class T> using emr_handle = std::unique_ptr<T, emr_free>;

class llama_tasks
{
  public:
    /* Opens a bundle for a model that is loaded from the GGUF file `path`. Both must belong together. */
    llama_tasks(const std::string &bundle, llama_model *model, const std::string &path, unsigned threads);

    /* A task by name; `base` is the model itself, unless a task is called so. Lists those there are if
     * it is none. */
    uint32_t find(const std::string &name) const;

    /* Before switch_to: the base from a file; "" is the model's own, if that is not quantised, or the bundle's.
     * The model must lie in memory that can be written, as it is in the file: neither mapped nor repacked. */
    void open_base(const std::string &path);
    void switch_to(uint32_t task);

    /* Before a context is made whose parameters have `eval` as cb_eval, and `this` as cb_eval_user_data. */
    void open_products();
    static bool eval(ggml_tensor *node, bool ask, void *tasks);

    /* Products: before every llama_decode, the batch's tokens with the task of each, and whether its
     * logits are asked for. The batch must go through the graph whole and in order: n_ubatch is as large
     * as it, and kv_unified is set. After it, check() fails if adding a task's products did. */
    void begin_batch(const llama_batch &batch, const std::vector<uint32_t> &tasks);
    void check() const;

  private:
    struct use { /* one tensor that llama.cpp's graph works with, and the bundle knows */
        std::string name;
        uint32_t number; /* of a merged tensor */
        bool merged;
        std::vector<ggml_tensor *> tensors; /* a tied embedding may be there twice */
    };
    struct rows { /* what the rows of a node belong to */
        const uint32_t *tasks;
        size_t n;
    };

    void compare_with_model();
    void open_session(emr_session_options &options);
    void find_uses(llama_model *model);
    void note_use(ggml_tensor *tensor);
    const use *merged_use(const ggml_tensor *tensor) const;
    void refuse_private(uint32_t task) const;

    bool wants(ggml_tensor *node);
    void add_change(ggml_tensor *node);
    void add_product(const use &u, ggml_tensor *node);
    void add_rows(const use &u, ggml_tensor *node);
    void scale_rows(const use &u, ggml_tensor *node);
    void add_bias(const use &u, ggml_tensor *node);
    void changes_of(const use &u, const uint32_t *tasks, const uint64_t *rows, size_t n, size_t width);
    rows tasks_of(const ggml_tensor *node);

    emr_handle<emr_pool> pool;
    emr_handle<emr_bundle> bundle;
    emr_handle<emr_model> base;
    emr_handle<emr_session> session; /* after what it uses: it goes first */
    std::string model_path;
    bool model_is_base = false; /* to the byte */
    std::map<std::string, use> uses;
    bool norms = false;              /* a norm's weights are merged */
    std::optional<uint32_t> current; /* whose weights have been written; none: the file's, or pieces */
    std::vector<float> staging;

    std::vector<llama_token> tokens;    /* of the batch, */
    std::vector<uint32_t> token_tasks;  /* the task of each, */
    std::vector<uint32_t> output_tasks; /* and of those whose logits are asked for */
    std::vector<uint32_t> spread;       /* the same, for a node that has several rows for a token */
    std::vector<float> change, normed;
    const ggml_tensor *normed_from = nullptr;
    std::string failure;
};

#endif
