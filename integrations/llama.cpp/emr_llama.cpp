/* emr_llama.cpp - answers prompts, and measures perplexity, as any task of a bundle by name, over
 * llama.cpp; `emr-llama --help` says how. What makes llama.cpp act as tasks is in tasks.cpp; here are
 * the command line and two loops over llama_decode. */
#include "tasks.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <stdexcept>

static const char usage[] =
    "usage: emr-llama [options] MODEL.gguf [BUNDLE.emr]\n"
    "       emr-llama --quantise TYPE OUT.gguf MODEL.gguf\n"
    "\n"
    "  --request TASK:PROMPT     answer as TASK; may be repeated. base is the model as it is\n"
    "  --perplexity TASK:FILE    perplexity of a text as TASK; may be repeated\n"
    "  --logits PREFIX           with --perplexity: logits too, F32, all of the n-th text to PREFIX.n (from "
    "0)\n"
    "  --products                do not switch: add what tasks change to the model's products, all requests "
    "in one batch\n"
    "  --base FILE               switching: the bundle's base, where MODEL.gguf is not that file but "
    "quantised from it\n"
    "  --predict N               tokens of an answer, at most (32)\n"
    "  --chunk N                 tokens of a text that are looked at together (128)\n"
    "  --threads N               threads of llama.cpp, and of libemr beside it (2)\n"
    "  --verbose                 what llama.cpp says\n";

struct job {
    std::string task_name, text;
    uint32_t task = EMR_BASE;
    std::vector<llama_token> tokens;
};

struct settings {
    std::vector<std::string> files;
    std::vector<job> requests, texts;
    std::string base, logits, quantise;
    bool products = false, verbose = false;
    int predict = 32, chunk = 128, threads = 2;
};

using model_handle = std::unique_ptr<llama_model, decltype(&llama_model_free)>;
using context_handle = std::unique_ptr<llama_context, decltype(&llama_free)>;

/* ------------------------------------------------------------------------------------- the command line */

static job parse_job(const std::string &text, const char *what)
{
    const size_t colon = text.find(':');
    if (colon == std::string::npos)
        throw std::runtime_error("'" + text + "' is not TASK:" + what);
    job j;
    j.task_name = text.substr(0, colon);
    j.text = text.substr(colon + 1);
    return j;
}

static int parse_number(const std::string &option, const char *text)
{
    char *end;
    const long n = strtol(text, &end, 10);
    if (!*text || *end || n < 1 || n > 1 << 20)
        throw std::runtime_error(option + ": '" + text + "' is not a number from 1 to 1048576");
    return (int)n;
}

static settings parse_settings(int n, char **arguments)
{
    settings s;
    for (int i = 1; i < n; i++) {
        const std::string option = arguments[i];
        const auto value = [&]() -> const char * {
            if (i + 1 >= n)
                throw std::runtime_error(option + " needs a value");
            return arguments[++i];
        };
        if (option == "--request")
            s.requests.push_back(parse_job(value(), "PROMPT"));
        else if (option == "--perplexity")
            s.texts.push_back(parse_job(value(), "FILE"));
        else if (option == "--logits")
            s.logits = value();
        else if (option == "--products")
            s.products = true;
        else if (option == "--base")
            s.base = value();
        else if (option == "--quantise")
            s.quantise = value();
        else if (option == "--predict")
            s.predict = parse_number(option, value());
        else if (option == "--chunk")
            s.chunk = std::max(2, parse_number(option, value()));
        else if (option == "--threads")
            s.threads = parse_number(option, value());
        else if (option == "--verbose")
            s.verbose = true;
        else if (option[0] == '-')
            throw std::runtime_error("unknown option " + option + "; see --help");
        else
            s.files.push_back(option);
    }
    if (s.files.empty() || s.files.size() > 2)
        throw std::runtime_error("a model is needed, and perhaps a bundle; see --help");
    return s;
}

static std::string read_text(const std::string &path)
{
    std::ifstream file(path, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (!file)
        throw std::runtime_error("cannot read " + path);
    return text;
}

/* -------------------------------------------------------------------------------------------- llama.cpp */

/* Not mapped, for weights are written over; not repacked, for they must be where and how the file has
 * them. */
template <class P> static auto load_writable(P &params, int) -> decltype(params.use_mmap, void())
{
    params.use_mmap = false;
}

template <class P> static void load_writable(P &params, long) /* since load_mode has taken its place */
{
    params.load_mode = static_cast<decltype(params.load_mode)>(0);
}

static model_handle load_model(const std::string &path)
{
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    params.use_extra_bufts = false;
    load_writable(params, 0);
    model_handle model(llama_model_load_from_file(path.c_str(), params), llama_model_free);
    if (!model)
        throw std::runtime_error("llama.cpp cannot load " + path + " (--verbose says more)");
    return model;
}

static std::vector<llama_token> tokenise(const llama_vocab *vocab, const std::string &text, bool special)
{
    std::vector<llama_token> tokens(text.size() + 8);
    const int32_t n = llama_tokenize(vocab, text.data(), (int32_t)text.size(), tokens.data(),
                                     (int32_t)tokens.size(), special, false);
    if (n < 0)
        throw std::runtime_error("llama.cpp cannot tokenise a text of " + std::to_string(text.size()) +
                                 " bytes");
    tokens.resize((size_t)n);
    return tokens;
}

static std::string piece_of(const llama_vocab *vocab, llama_token token)
{
    char piece[256];
    const int32_t n = llama_token_to_piece(vocab, token, piece, sizeof piece, 0, false);
    return std::string(piece, (size_t)std::max(0, n));
}

/* A batch that knows the task of each token, and a context that it fits into whole. */
class engine
{
  public:
    engine(llama_model *model, llama_tasks *tasks_, const settings &s, size_t n_tokens, size_t length,
           size_t n_sequences)
        : tasks(tasks_), products(s.products && tasks_), context(nullptr, llama_free),
          batch(llama_batch_init((int32_t)n_tokens, 0, 1))
    {
        llama_context_params params = llama_context_default_params();
        params.n_ctx = (uint32_t)(length * n_sequences);
        params.n_batch = params.n_ubatch = (uint32_t)n_tokens;
        params.n_seq_max = (uint32_t)n_sequences;
        params.kv_unified = true;
        params.n_threads = params.n_threads_batch = s.threads;
        params.cb_eval = products ? llama_tasks::eval : nullptr;
        params.cb_eval_user_data = tasks;
        context.reset(llama_init_from_model(model, params));
        if (!context)
            throw std::runtime_error("llama.cpp cannot make a context (--verbose says more)");
    }
    ~engine()
    {
        llama_batch_free(batch);
    }
    engine(const engine &) = delete;
    engine &operator=(const engine &) = delete;

    void forget()
    {
        llama_memory_clear(llama_get_memory(context.get()), true);
    }

    void clear()
    {
        batch.n_tokens = 0;
        batch_tasks.clear();
    }

    /* Returns the number by which logits are asked for. */
    int32_t add(llama_token token, size_t position, size_t sequence, uint32_t task, bool logits)
    {
        const int32_t i = batch.n_tokens++;
        batch.token[i] = token;
        batch.pos[i] = (llama_pos)position;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = (llama_seq_id)sequence;
        batch.logits[i] = logits;
        batch_tasks.push_back(task);
        return i;
    }

    void decode()
    {
        if (products)
            tasks->begin_batch(batch, batch_tasks);
        const int32_t status = llama_decode(context.get(), batch);
        if (products)
            tasks->check();
        if (status)
            throw std::runtime_error("llama_decode failed: " + std::to_string(status));
    }

    const float *logits(int32_t i)
    {
        return llama_get_logits_ith(context.get(), i);
    }

  private:
    llama_tasks *tasks;
    bool products;
    context_handle context;
    llama_batch batch;
    std::vector<uint32_t> batch_tasks;
};

/* Jobs as groups that go through llama.cpp together: all, or one by one with a switch before each. */
static std::vector<std::vector<job *>> group_jobs(std::vector<job> &jobs, bool together)
{
    std::vector<std::vector<job *>> groups;
    for (job &j : jobs) {
        if (groups.empty() || !together)
            groups.emplace_back();
        groups.back().push_back(&j);
    }
    return groups;
}

/* The task whose weights the model must have. */
static void become(llama_tasks *tasks, const settings &s, uint32_t task)
{
    if (tasks && !s.products)
        tasks->switch_to(task);
}

/* ---------------------------------------------------------------------------------------------- answers */

static llama_token likeliest(const float *logits, int32_t n)
{
    return (llama_token)(std::max_element(logits, logits + n) - logits);
}

static void answer(llama_model *model, llama_tasks *tasks, settings &s)
{
    const llama_vocab *vocab = llama_model_get_vocab(model);
    for (job &j : s.requests) {
        j.tokens = tokenise(vocab, j.text, true);
        if (j.tokens.empty())
            throw std::runtime_error("the prompt of '" + j.task_name + ":" + j.text + "' is empty");
    }
    for (std::vector<job *> &group : group_jobs(s.requests, s.products)) {
        size_t n_tokens = 0, longest = 0;
        for (job *j : group) {
            n_tokens += j->tokens.size();
            longest = std::max(longest, j->tokens.size());
        }
        engine e(model, tasks, s, n_tokens, longest + (size_t)s.predict, group.size());
        become(tasks, s, group[0]->task);
        std::vector<int32_t> last(group.size(),
                                  -1); /* where a request's next token is told; -1: it has ended */
        std::vector<std::string> said(group.size());
        e.clear();
        for (size_t k = 0; k < group.size(); k++)
            for (size_t i = 0; i < group[k]->tokens.size(); i++)
                last[k] = e.add(group[k]->tokens[i], i, k, group[k]->task, i + 1 == group[k]->tokens.size());
        for (int step = 0; step < s.predict; step++) {
            e.decode();
            std::vector<llama_token> next(group.size(), LLAMA_TOKEN_NULL);
            for (size_t k = 0; k < group.size(); k++)
                if (last[k] >= 0)
                    next[k] = likeliest(e.logits(last[k]), llama_vocab_n_tokens(vocab));
            e.clear();
            bool more = false;
            for (size_t k = 0; k < group.size(); k++) {
                const bool ended = last[k] < 0 || llama_vocab_is_eog(vocab, next[k]);
                last[k] = -1;
                if (ended)
                    continue;
                said[k] += piece_of(vocab, next[k]);
                last[k] = e.add(next[k], group[k]->tokens.size() + (size_t)step, k, group[k]->task, true);
                more = true;
            }
            if (!more)
                break;
        }
        for (size_t k = 0; k < group.size(); k++)
            printf("%s: %s -> %s\n", group[k]->task_name.c_str(), group[k]->text.c_str(), said[k].c_str());
    }
}

/* ------------------------------------------------------------------------------------------- perplexity */

struct loss {
    double sum = 0;
    size_t n = 0;
};

static double surprise(const float *logits, int32_t n, llama_token token)
{
    const float largest = *std::max_element(logits, logits + n);
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += std::exp((double)logits[i] - largest);
    return std::log(sum) + largest - logits[token];
}

/* Texts are cut into chunks that know nothing of each other; a token is told from those before it in its
 * chunk. The first of a chunk is the vocabulary's beginning, where it has one. */
static void measure(llama_model *model, llama_tasks *tasks, settings &s)
{
    const llama_vocab *vocab = llama_model_get_vocab(model);
    const int32_t n_words = llama_vocab_n_tokens(vocab);
    const llama_token begin = llama_vocab_bos(vocab);
    const size_t lead = begin >= 0 ? 1 : 0, step = (size_t)s.chunk - lead;
    for (job &j : s.texts)
        j.tokens = tokenise(vocab, read_text(j.text), false);
    size_t number = 0;
    for (std::vector<job *> &group : group_jobs(s.texts, s.products)) {
        engine e(model, tasks, s, (size_t)s.chunk * group.size(), (size_t)s.chunk, group.size());
        become(tasks, s, group[0]->task);
        std::vector<loss> losses(group.size());
        std::vector<std::ofstream> out(group.size());
        size_t longest = 0;
        for (size_t k = 0; k < group.size(); k++) {
            longest = std::max(longest, group[k]->tokens.size());
            if (!s.logits.empty())
                out[k].open(s.logits + "." + std::to_string(number + k), std::ios::binary);
            if (!out[k])
                throw std::runtime_error("cannot write " + s.logits + "." + std::to_string(number + k));
        }
        for (size_t at = 0; at < longest; at += step) {
            struct place {
                size_t k;
                int32_t i;
                llama_token next; /* or LLAMA_TOKEN_NULL */
            };
            std::vector<place> places;
            e.forget();
            e.clear();
            for (size_t k = 0; k < group.size(); k++) {
                const std::vector<llama_token> &text = group[k]->tokens;
                const size_t end = std::min(at + step, text.size());
                size_t position = 0;
                if (at < end && lead)
                    places.push_back({k, e.add(begin, position++, k, group[k]->task, true), text[at]});
                for (size_t i = at; i < end; i++)
                    places.push_back({k, e.add(text[i], position++, k, group[k]->task, true),
                                      i + 1 < end ? text[i + 1] : LLAMA_TOKEN_NULL});
            }
            e.decode();
            for (const place &p : places) {
                const float *logits = e.logits(p.i);
                if (!s.logits.empty())
                    out[p.k].write((const char *)logits, (std::streamsize)((size_t)n_words * sizeof *logits));
                if (p.next == LLAMA_TOKEN_NULL)
                    continue;
                losses[p.k].sum += surprise(logits, n_words, p.next);
                losses[p.k].n++;
            }
        }
        for (size_t k = 0; k < group.size(); k++) {
            if (!losses[k].n)
                throw std::runtime_error(group[k]->text + " is too short");
            out[k].flush();
            if (!s.logits.empty() && !out[k])
                throw std::runtime_error("cannot write " + s.logits + "." + std::to_string(number + k));
            printf("%s: perplexity of %s is %.4f\n", group[k]->task_name.c_str(), group[k]->text.c_str(),
                   std::exp(losses[k].sum / (double)losses[k].n));
        }
        number += group.size();
    }
}

/* --------------------------------------------------------------------------------------------- the rest */

static void quantise(const settings &s)
{
    static const struct {
        const char *name;
        llama_ftype type;
    } types[] = {{"F16", LLAMA_FTYPE_MOSTLY_F16},       {"BF16", LLAMA_FTYPE_MOSTLY_BF16},
                 {"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},     {"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},
                 {"Q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},     {"Q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},
                 {"Q5_1", LLAMA_FTYPE_MOSTLY_Q5_1},     {"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M},
                 {"Q5_K_M", LLAMA_FTYPE_MOSTLY_Q5_K_M}, {"Q6_K", LLAMA_FTYPE_MOSTLY_Q6_K}};
    std::string all;
    if (s.files.size() != 2)
        throw std::runtime_error("--quantise TYPE OUT.gguf MODEL.gguf: two files are needed");
    for (const auto &type : types) {
        all += std::string(all.empty() ? "" : ", ") + type.name;
        if (s.quantise != type.name)
            continue;
        llama_model_quantize_params params = llama_model_quantize_default_params();
        params.ftype = type.type;
        params.nthread = s.threads;
        if (llama_model_quantize(s.files[1].c_str(), s.files[0].c_str(), &params))
            throw std::runtime_error("llama.cpp cannot quantise " + s.files[1] + " (--verbose says more)");
        return;
    }
    throw std::runtime_error("--quantise knows " + all + ", not " + s.quantise);
}

/* The task of each job. Without a bundle there is the base alone. */
static void find_tasks(const llama_tasks *tasks, std::vector<job> &jobs)
{
    for (job &j : jobs) {
        if (!tasks && j.task_name != "base")
            throw std::runtime_error("task '" + j.task_name +
                                     "' needs a bundle; without one there is 'base' alone");
        if (tasks)
            j.task = tasks->find(j.task_name);
    }
}

static void run(settings &s)
{
    if (!s.quantise.empty())
        return quantise(s);
    if (s.requests.empty() && s.texts.empty())
        throw std::runtime_error("nothing is asked for: --request TASK:PROMPT or --perplexity TASK:FILE");
    const model_handle model = load_model(s.files[0]);
    std::unique_ptr<llama_tasks> tasks;
    if (s.files.size() == 2)
        tasks = std::make_unique<llama_tasks>(s.files[1], model.get(), s.files[0], (unsigned)s.threads);
    find_tasks(tasks.get(), s.requests);
    find_tasks(tasks.get(), s.texts);
    if (tasks && s.products)
        tasks->open_products();
    else if (tasks)
        tasks->open_base(s.base);
    answer(model.get(), tasks.get(), s);
    measure(model.get(), tasks.get(), s);
}

int main(int n, char **arguments)
{
    if (n == 2 && !strcmp(arguments[1], "--help"))
        return fputs(usage, stdout), 0;
    int status = 0;
    try {
        settings s = parse_settings(n, arguments);
        if (!s.verbose)
            llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
        llama_backend_init();
        run(s);
        llama_backend_free();
    } catch (const std::exception &e) {
        fprintf(stderr, "emr-llama: %s\n", e.what());
        status = 1;
    }
    return status;
}
