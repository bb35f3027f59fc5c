// engine.cpp - an engine in C++ that acts as any of several fine-tuned models: by becoming one (its weights
// are written over the engine's), or as all of them at once (each vector of a batch is multiplied by its own
// task's weights, which are written nowhere). Its threads have a handle each; a head goes to a device through
// a buffer that is smaller than it. Every result is compared with the task's model as a checkpoint would have
// it.
#include <emr/emr.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <iterator>
#include <vector>

namespace
{

using floats = std::vector<float>;
constexpr std::size_t tokens = 40, width = 64, hidden = 96, classes = 5;
const char *const names[] = {"french", "german", "legal"};

// A network: a token's row of `embed`, times `layer`, times `head`.
struct network {
    floats embed = floats(tokens * width), layer = floats(hidden * width), head = floats(classes * hidden);
};

// Pseudo-random: what it computes does not matter here.
network fine_tuned(const network &base, unsigned seed)
{
    network n = base;
    for (floats *tensor : {&n.embed, &n.layer, &n.head})
        for (float &weight : *tensor) {
            seed = seed * 1664525u + 1013904223u;
            weight += (static_cast<float>(seed >> 8) / (1 << 24) - 0.5f) / 4;
        }
    return n;
}

// Its weights as a model: they are used where they are.
emr::model model_over(const network &n)
{
    emr::model model = emr::model::create();
    model.add("embed.weight", {tokens, width}, n.embed);
    model.add("layer.weight", {hidden, width}, n.layer);
    model.add("head.weight", {classes, hidden}, n.head);
    return model;
}

// A real engine has a file, which `emr merge` wrote.
emr::buffer make_bundle(const network &base)
{
    std::vector<network> networks;
    for (unsigned i = 0; i < std::size(names); i++)
        networks.push_back(fine_tuned(base, i + 1));
    const emr::model base_model = model_over(base);
    std::vector<emr::model> models;
    emr::buffer file = emr::buffer::create();
    emr::merge merge = emr::merge::create();
    merge.set_base(base_model);
    for (const network &n : networks)
        models.push_back(model_over(n));
    for (std::size_t i = 0; i < models.size(); i++)
        merge.add_task(names[i], models[i]);
    merge.set_output(file.io());
    merge.run();
    return file;
}

// What the engine's other threads are for: a share of the work each, numbered 0 to count - 1. What one of
// them throws is thrown here.
template <class F> void on_threads(std::size_t count, F share)
{
    std::vector<std::future<void>> shares;
    for (std::size_t i = 0; i < count; i++)
        shares.push_back(std::async(std::launch::async, share, i));
    for (std::future<void> &s : shares)
        s.get();
}

class engine
{
  public:
    static constexpr std::size_t n_threads = 3;

    engine(const emr_io &file, const network &base)
        : bundle_(emr::bundle::open(file, "tasks.emr")), base_(model_over(base)),
          session_(emr::session::create(bundle_, base_, options()))
    {
        for (std::size_t i = 0; i < n_threads; i++)
            handles_.push_back(session_.open_thread());
    }

    std::uint32_t find_task(const char *name) const
    {
        return bundle_.find_task(name);
    }

    // Becomes a task: from now on the engine's own kernels do.
    void act_as(std::uint32_t task)
    {
        session_.apply(task,
                       {{"embed.weight", now.embed}, {"layer.weight", now.layer}, {"head.weight", now.head}});
    }

    // A batch of tokens, each of a task of its own: their embeddings, times the layer. Threads share out its
    // rows.
    floats run_batch(const std::vector<std::uint32_t> &tasks, const std::vector<std::uint64_t> &rows)
    {
        floats x(tasks.size() * width), y(tasks.size() * hidden);
        session_.gather(tasks, rows, {"embed.weight", x});
        on_threads(n_threads, [&](std::size_t i) {
            emr::product share("layer.weight", hidden / n_threads, x, y);
            share.first_row = i * share.n_rows;
            share.y += share.first_row;
            share.y_stride = hidden;
            handles_[i].multiply(tasks, share);
        });
        return y;
    }

    // Copies a task's head to a device, a bit at a time.
    void upload_head(std::uint32_t task, floats &device)
    {
        floats staging(37);
        emr::weights_writer copy([&](const emr::weights_part &part) {
            std::memcpy(&device.at(part.first), part.data, part.count * sizeof(float));
        });
        emr::weights head("head.weight");
        head.write_to(copy, staging);
        session_.apply(task, {head});
    }

    // The same by another way.
    network expected(std::uint32_t task) const
    {
        network n;
        const emr::model model = bundle_.open_task(task, base_);
        model.find_tensor("embed.weight").read_floats(0, n.embed);
        model.find_tensor("layer.weight").read_floats(0, n.layer);
        model.find_tensor("head.weight").read_floats(0, n.head);
        return n;
    }

    network now;

  private:
    emr::session_options options()
    {
        emr::session_options o;
        o.resources.executor = &executor_;
        o.mask_bytes = 64 << 20; // what it can spare for decoded masks
        return o;
    }

    // In the order in which they depend on each other.
    struct share_out {
        void operator()(std::size_t n, const emr::work &work) const
        {
            on_threads(n_threads, [&](std::size_t i) {
                for (; i < n; i += n_threads)
                    work(i);
            });
        }
    } share_out_;
    emr::executor executor_{share_out_, n_threads};
    emr::bundle bundle_;
    emr::model base_;
    emr::session session_;
    std::vector<emr::session> handles_;
};

bool is_near(float a, double b)
{
    return std::abs(static_cast<double>(a) - b) < 1e-4;
}

// Vector b of a batch, the plain way.
bool is_product(const network &n, std::uint64_t token, const float *y)
{
    for (std::size_t r = 0; r < hidden; r++) {
        double sum = 0;
        for (std::size_t c = 0; c < width; c++)
            sum +=
                static_cast<double>(n.layer[r * width + c]) * static_cast<double>(n.embed[token * width + c]);
        if (!is_near(y[r], sum))
            return false;
    }
    return true;
}

int count_wrong()
{
    const network base = fine_tuned(network(), 99);
    const emr::buffer file = make_bundle(base);
    engine e(file.io(), base);
    const std::uint32_t french = e.find_task("french"), german = e.find_task("german");
    int wrong = 0;

    for (std::uint32_t task : {french, german, french}) {
        e.act_as(task);
        const network n = e.expected(task);
        wrong += e.now.embed != n.embed || e.now.layer != n.layer || e.now.head != n.head;
    }

    const std::vector<std::uint32_t> tasks = {german, french, EMR_BASE, french};
    const std::vector<std::uint64_t> rows = {7, 7, 7, 39};
    const floats y = e.run_batch(tasks, rows);
    for (std::size_t b = 0; b < tasks.size(); b++) {
        const network n = tasks[b] == EMR_BASE ? base : e.expected(tasks[b]);
        wrong += !is_product(n, rows[b], &y[b * hidden]);
        const floats alone = e.run_batch({tasks[b]}, {rows[b]});
        wrong += !std::equal(alone.begin(), alone.end(), &y[b * hidden]);
    }

    floats device(classes * hidden);
    e.upload_head(german, device);
    wrong += device != e.expected(german).head;

    try {
        e.find_task("greek");
        wrong++;
    } catch (const emr::error &failed) {
        std::printf("%s\n", failed.what());
        wrong += failed.status() != EMR_ENOTFOUND || failed.task() != "greek";
    }
    return wrong;
}

} // namespace

int main()
{
    try {
        const int wrong = count_wrong();
        std::printf("%d results are wrong\n", wrong);
        return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
    } catch (const std::exception &e) {
        std::fprintf(stderr, "engine: %s\n", e.what());
        return EXIT_FAILURE;
    }
}
