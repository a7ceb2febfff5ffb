// Cards that are not there: a ggml backend whose devices CUDA0, CUDA1 … have as much memory as the test says, and are
// host memory. llama-server loads it by GGML_BACKEND_PATH, and then places, allocates and refuses as with real ones:
//
//   CARDS=24576,12288   MiB of each card
//
// What CUDA's backend asks of memory is kept (ggml/src/ggml-cuda/ggml-cuda.cu and fattn.cu, b10435): tensors are aligned
// to 128 bytes, quantized rows are padded to 512 elements, flash attention over a cache that is not f16 has room for a
// copy that is, its heads have certain sizes, and events let ubatches overlap. Graphs are computed by the CPU's backend.
#include "ggml-backend-impl.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace {

struct card {
    int number;
    std::string name;
    size_t total;
    size_t taken = 0;
    ggml_backend_buffer_type memory{};
    ggml_backend_device device{};
};

struct allocation {
    card * owner;
    void * data;
    size_t size;
};

ggml_backend_reg registry;

card & card_of(ggml_backend_buffer_type_t memory) { return *static_cast<card *>(memory->context); }
card & card_of(ggml_backend_dev_t device) { return *static_cast<card *>(device->context); }
allocation & allocation_of(ggml_backend_buffer_t buffer) { return *static_cast<allocation *>(buffer->context); }

size_t attention_copies(const ggml_tensor * attention) {
    const ggml_tensor * q = attention->src[0], * k = attention->src[1], * v = attention->src[2];
    const bool by_vectors = q->ne[1] <= 2;  // the kernel for one or two tokens reads quantized caches as they are
    const bool is_latent = v->view_src && (v->view_src == k || v->view_src == k->view_src);
    size_t size = 0;
    for (const ggml_tensor * cache : {k, v}) {
        const bool is_copied = cache->type != GGML_TYPE_F16 && (!by_vectors || cache->type == GGML_TYPE_F32);
        if (is_copied && !(cache == v && is_latent)) size += 128 + 2 * ggml_nelements(cache);
    }
    return size;
}

bool attention_has_a_kernel(const ggml_tensor * attention) {
    const int64_t k = attention->src[1]->ne[0], v = attention->src[2]->ne[0];
    const int64_t group = attention->src[0]->ne[2] / attention->src[1]->ne[2];
    for (int64_t head : {40, 64, 72, 80, 96, 112, 128, 256}) if (k == head) return v == k;
    if (k == 192) return v == 128 && group % 8 == 0;
    if (k == 320) return v == 256 && group % 32 == 0;
    return (k == 512 || k == 576) && v == 512 && group >= 2;
}

ggml_backend_buffer_i buffer_functions() {
    ggml_backend_buffer_i f{};
    f.free_buffer = [](ggml_backend_buffer_t b) {
        std::unique_ptr<allocation> gone(&allocation_of(b));
        gone->owner->taken -= gone->size;
        free(gone->data);
    };
    f.get_base = [](ggml_backend_buffer_t b) { return allocation_of(b).data; };
    f.memset_tensor = [](ggml_backend_buffer_t, ggml_tensor * t, uint8_t value, size_t at, size_t size) {
        memset(static_cast<char *>(t->data) + at, value, size);
    };
    f.set_tensor = [](ggml_backend_buffer_t, ggml_tensor * t, const void * data, size_t at, size_t size) {
        memcpy(static_cast<char *>(t->data) + at, data, size);
    };
    f.get_tensor = [](ggml_backend_buffer_t, const ggml_tensor * t, void * data, size_t at, size_t size) {
        memcpy(data, static_cast<const char *>(t->data) + at, size);
    };
    f.cpy_tensor = [](ggml_backend_buffer_t, const ggml_tensor * from, ggml_tensor * to) {
        if (from->data && to->data) memcpy(to->data, from->data, ggml_nbytes(from));
        return from->data && to->data;
    };
    f.clear = [](ggml_backend_buffer_t b, uint8_t value) { memset(allocation_of(b).data, value, allocation_of(b).size); };
    return f;
}

ggml_backend_buffer_t allocate(ggml_backend_buffer_type_t memory, size_t size) {
    card & on = card_of(memory);
    void * data = nullptr;
    if (on.taken + size > on.total || posix_memalign(&data, 128, size ? size : 128)) {
        fprintf(stderr, "allocate: allocating %.2f MiB on device %d: cudaMalloc failed: out of memory\n",
                size / 1024.0 / 1024.0, on.number);
        return nullptr;
    }
    on.taken += size;
    return ggml_backend_buffer_init(memory, buffer_functions(), new allocation{&on, data, size}, size);
}

void describe_memory(card & on) {
    on.memory.device = &on.device;
    on.memory.context = &on;
    auto & f = on.memory.iface;
    f.get_name = [](ggml_backend_buffer_type_t m) { return card_of(m).name.c_str(); };
    f.alloc_buffer = allocate;
    f.get_alignment = [](ggml_backend_buffer_type_t) { return size_t(128); };
    f.get_alloc_size = [](ggml_backend_buffer_type_t, const ggml_tensor * t) {
        size_t size = ggml_nbytes(t);
        if (t->op == GGML_OP_FLASH_ATTN_EXT) size += attention_copies(t);
        if (ggml_is_quantized(t->type) && t->ne[0] % 512) size += ggml_row_size(t->type, 512 - t->ne[0] % 512);
        return size;
    };
}

std::vector<std::unique_ptr<card>> & cards();

// Pinned memory: the CPU's, under its own name.
ggml_backend_buffer_type_t pinned_memory() {
    static ggml_backend_buffer_type memory;
    memory.iface = ggml_backend_cpu_buffer_type()->iface;
    memory.device = &cards()[0]->device;
    memory.iface.get_name = [](ggml_backend_buffer_type_t) { return "CUDA_Host"; };
    memory.iface.alloc_buffer = [](ggml_backend_buffer_type_t type, size_t size) {
        ggml_backend_buffer_t buffer = ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), size);
        if (buffer) buffer->buft = type;
        return buffer;
    };
    return &memory;
}

ggml_backend_t start_stream(ggml_backend_dev_t device, const char *) {
    static ggml_guid guid = {'c', 'a', 'r', 'd', 's'};
    auto * stream = new ggml_backend{};
    stream->guid = &guid;
    stream->device = device;
    stream->context = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr);
    auto & f = stream->iface;
    f.get_name = [](ggml_backend_t s) { return card_of(s->device).name.c_str(); };
    f.free = [](ggml_backend_t s) {
        ggml_backend_free(static_cast<ggml_backend_t>(s->context));
        delete s;
    };
    f.synchronize = [](ggml_backend_t) {};
    f.graph_compute = [](ggml_backend_t s, ggml_cgraph * graph) {
        return ggml_backend_graph_compute(static_cast<ggml_backend_t>(s->context), graph);
    };
    f.event_record = [](ggml_backend_t, ggml_backend_event_t) {};
    f.event_wait = [](ggml_backend_t, ggml_backend_event_t) {};
    return stream;
}

bool computes(ggml_backend_dev_t device, const ggml_tensor * t) {
    for (const ggml_tensor * source : t->src) {
        if (!source || !source->buffer) continue;
        for (auto & other : cards())
            if (source->buffer->buft == &other->memory && &other->device != device) return false;
    }
    return t->op != GGML_OP_FLASH_ATTN_EXT || attention_has_a_kernel(t);
}

// Weights on the host are brought to the card for so many tokens.
bool is_worth_bringing(ggml_backend_dev_t, const ggml_tensor * t) {
    switch (t->op) {
        case GGML_OP_GET_ROWS: return false;
        case GGML_OP_MUL_MAT: return t->ne[1] >= 32;
        case GGML_OP_MUL_MAT_ID: case GGML_OP_ROPE: return t->ne[2] >= 32;
        default: return ggml_nrows(t) >= 32;
    }
}

void describe_device(card & on) {
    on.device.reg = &registry;
    on.device.context = &on;
    auto & f = on.device.iface;
    f.get_name = [](ggml_backend_dev_t d) { return card_of(d).name.c_str(); };
    f.get_description = [](ggml_backend_dev_t) { return "no real card"; };
    f.get_memory = [](ggml_backend_dev_t d, size_t * free, size_t * total) {
        *total = card_of(d).total;
        *free = *total - card_of(d).taken;
    };
    f.get_type = [](ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_GPU; };
    f.get_props = [](ggml_backend_dev_t d, ggml_backend_dev_props * props) {
        *props = {};
        props->name = d->iface.get_name(d);
        props->description = d->iface.get_description(d);
        props->type = GGML_BACKEND_DEVICE_TYPE_GPU;
        d->iface.get_memory(d, &props->memory_free, &props->memory_total);
        props->caps.async = props->caps.host_buffer = props->caps.events = props->caps.mmap_support = true;
    };
    f.init_backend = start_stream;
    f.get_buffer_type = [](ggml_backend_dev_t d) { return &card_of(d).memory; };
    f.get_host_buffer_type = [](ggml_backend_dev_t) { return pinned_memory(); };
    f.supports_op = computes;
    f.supports_buft = [](ggml_backend_dev_t d, ggml_backend_buffer_type_t m) { return m == &card_of(d).memory; };
    f.offload_op = is_worth_bringing;
    f.event_new = [](ggml_backend_dev_t d) { return new ggml_backend_event{d, nullptr}; };
    f.event_free = [](ggml_backend_dev_t, ggml_backend_event_t event) { delete event; };
    f.event_synchronize = [](ggml_backend_dev_t, ggml_backend_event_t) {};
}

std::vector<std::unique_ptr<card>> & cards() {
    static std::vector<std::unique_ptr<card>> all;
    if (!all.empty()) return all;
    const char * sizes = getenv("CARDS");
    for (const char * at = sizes ? sizes : "24576"; *at;) {
        char * end;
        const size_t total = size_t(strtoull(at, &end, 10)) << 20;
        const int number = int(all.size());
        all.push_back(std::unique_ptr<card>(new card{number, "CUDA" + std::to_string(number), total}));
        describe_memory(*all.back());
        describe_device(*all.back());
        at = *end ? end + 1 : end;
    }
    return all;
}

}  // namespace

extern "C" ggml_backend_reg_t ggml_backend_init() {
    registry.api_version = GGML_BACKEND_API_VERSION;
    registry.iface.get_name = [](ggml_backend_reg_t) { return "CUDA"; };
    registry.iface.get_device_count = [](ggml_backend_reg_t) { return cards().size(); };
    registry.iface.get_device = [](ggml_backend_reg_t, size_t index) { return &cards()[index]->device; };
    registry.iface.get_proc_address = [](ggml_backend_reg_t, const char *) -> void * { return nullptr; };
    return &registry;
}
