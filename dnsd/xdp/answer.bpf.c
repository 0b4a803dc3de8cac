//go:build ignore

// Answers common questions where packets arrive, before the kernel makes sockets' work of them. What
// it knows is put into the map answers by the name server, answer by answer, and is worth nothing as
// soon as the server counts one of its two generations up. Everything that is not plainly one of
// those questions goes up the ordinary way.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NAME_SIZE 80      // longest name kept, in wire form
#define BODY_SIZE 400     // longest answer kept: what follows the question
#define MOST_GROWTH 200   // octets by which a frame grows at its beginning, where there is always room; what is over grows at its end
#define SLOTS 65536       // generations of accounts; one more counts for all
#define BUCKETS 65536     // sources told apart by the limit
#define HEADER 12
#define OPT_SIZE 11
#define QUESTION_MOST (NAME_SIZE + 4)
#define PAYLOAD_MOST (HEADER + QUESTION_MOST + OPT_SIZE)

// question is the key of an answer: the name in lower case and wire form, zeros after it.
struct question {
	__u8 name[NAME_SIZE];
	__u16 type; // as in the packet
	__u8 edns;  // asked with OPT
	__u8 zero;
};

// answer is what follows the question in the message, and when it is worth nothing.
struct answer {
	__u64 slot_generation, generation;
	__u32 slot;
	__u16 size;              // of body
	__u16 sum;               // ones' complement sum of body, as of an even offset
	__u16 answers, extra;    // counts, as in the packet
	__u8 body[BODY_SIZE];
	__u32 zero;
};

// listener is an address that is answered at, IPv4 mapped into IPv6.
struct listener {
	__u8 addr[16];
	__u16 port; // as in the packet
	__u16 zero;
};

struct prefix {
	__u32 bits;
	__u8 addr[16];
};

// bucket is what one source may still be sent.
struct bucket {
	__u64 at; // ns
	__s64 credit; // octets, in 1/1024
	__s64 turns;  // answers, in 1/1024
};

// settings of the limit; factor zero: no limit.
struct limit {
	__u32 factor; // octets out for one in, in 1/1024
	__u32 refill; // octets a second
	__u32 most;   // octets
	__u32 rate;   // answers a second, and at once
	__u32 seed;
	__u32 zero;
};

enum counter { ANSWERED, OCTETS_IN, OCTETS_OUT, ABSENT, STALE, LIMITED, NO_ROOM, ANSWERED6, WITH_EDNS, KIND_A, KIND_AAAA, KIND_NAPTR, KIND_SRV, KIND_HTTPS, KIND_OTHER, COUNTERS };

// kind returns the counter of questions of a type.
static __always_inline __u32 kind(__u16 type) {
	switch (bpf_ntohs(type)) {
	case 1: return KIND_A;
	case 28: return KIND_AAAA;
	case 35: return KIND_NAPTR;
	case 33: return KIND_SRV;
	case 65: return KIND_HTTPS;
	}
	return KIND_OTHER;
}

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct question);
	__type(value, struct answer);
} answers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SLOTS + 1);
	__type(key, __u32);
	__type(value, __u64);
} generations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct listener);
	__type(value, __u8);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct prefix);
	__type(value, __u8);
} exempt SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, struct bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct limit);
} limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

// scratch holds what is too much for the stack.
struct scratch {
	__u8 payload[256]; // of the question, then of the answer's beginning
	struct question key;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline void count(__u32 what, __u64 by) {
	__u64 *n = bpf_map_lookup_elem(&counters, &what);
	if (n)
		*n += by;
}

static __always_inline __u16 fold(__u64 sum) {
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

// read_name copies the question's name into key in lower case; it returns its size, 0 for a name
// that is not kept.
static __always_inline __u32 read_name(struct scratch *s, __u32 size) {
	__u32 left = 0; // of the present label
	for (__u32 i = 0; i < NAME_SIZE; i++) {
		__u32 at = HEADER + i;
		if (at >= size)
			return 0;
		__u8 c = s->payload[at & 255];
		if (left == 0) {
			if (c == 0)
				return i + 1;
			if (c > 63)
				return 0;
			left = c;
		} else {
			left--;
			if (c >= 'A' && c <= 'Z')
				c += 'a' - 'A';
		}
		s->key.name[i] = c;
	}
	return 0;
}

// read_question fills in key from the payload of size octets; it returns the question's size, name and
// all, 0 for what is not plainly a common question. room is what the answer may be long.
static __always_inline __u32 read_question(struct scratch *s, __u32 size, __u32 *room) {
	__u8 *p = s->payload;
	// QUERY without AA and TC, one question, no records but perhaps OPT
	if ((p[2] & 0xfe) | p[4] | (p[5] ^ 1) | p[6] | p[7] | p[8] | p[9] | p[10] | (p[11] & 0xfe))
		return 0;
	__builtin_memset(&s->key, 0, sizeof(s->key));
	__u32 name = read_name(s, size);
	if (name == 0)
		return 0;
	__u32 at = HEADER + name;
	if (p[(at + 2) & 255] != 0 || p[(at + 3) & 255] != 1)
		return 0;
	s->key.type = p[at & 255] | p[(at + 1) & 255] << 8;
	at += 4;
	*room = 512;
	if (p[11]) {
		// root, OPT, size, no extended rcode, version 0, no flag such as DO, no options
		if (size != at + OPT_SIZE || (p[at & 255] | p[(at + 1) & 255]) || p[(at + 2) & 255] != 41 ||
		    (p[(at + 5) & 255] | p[(at + 6) & 255] | p[(at + 7) & 255] | p[(at + 8) & 255] | p[(at + 9) & 255] | p[(at + 10) & 255]))
			return 0;
		__u32 offered = p[(at + 3) & 255] << 8 | p[(at + 4) & 255];
		if (offered > *room)
			*room = offered;
		s->key.edns = 1;
	} else if (size != at) {
		return 0;
	}
	return name + 4;
}

// allowed reports whether a source may be sent out octets for in: what it earns with each question,
// a little with time, and never much at once. So no source is sent more than a few times what came
// in its name.
static __always_inline int allowed(const __u8 *addr, __u32 in, __u32 out) {
	__u32 zero = 0;
	struct limit *l = bpf_map_lookup_elem(&limits, &zero);
	if (!l || l->factor == 0)
		return 1;
	struct prefix p = {.bits = 128};
	__builtin_memcpy(p.addr, addr, 16);
	if (bpf_map_lookup_elem(&exempt, &p))
		return 1;
	// /24 of IPv4, mapped, and /56 of IPv6
	__u32 *words = (__u32 *)p.addr;
	__u32 v4 = words[0] == 0 && words[1] == 0 && words[2] == bpf_htonl(0xffff);
	__u32 h = l->seed;
	if (v4)
		h = (h ^ (words[3] & bpf_htonl(0xffffff00))) * 0x9e3779b1;
	else {
		h = (h ^ words[0]) * 0x9e3779b1;
		h ^= h >> 15;
		h = (h ^ (words[1] & bpf_htonl(0xffffff00))) * 0x85ebca6b;
	}
	h ^= h >> 16;
	h *= 0xc2b2ae35;
	h ^= h >> 13;
	__u32 place = h & (BUCKETS - 1);
	struct bucket *b = bpf_map_lookup_elem(&buckets, &place);
	if (!b)
		return 1;
	__u64 now = bpf_ktime_get_ns();
	__s64 credit = b->credit, turns = b->turns, most = (__s64)l->most << 10, burst = (__s64)l->rate << 10;
	__u64 since = now - b->at;
	if (b->at == 0 || since > 60000000000ULL) {
		credit = most;
		turns = burst;
	} else {
		credit += (since >> 10) * l->refill / 953674; // ns/1024 * octets/s -> octets/1024
		turns += (since >> 10) * l->rate / 953;       // ns/1024 * answers/s -> answers/1024
	}
	__u64 earned = (__u64)in * l->factor;
	int yes = credit + (__s64)earned >= (__s64)out << 10 && turns >= 1024;
	if (yes) { // a question that is left to the sockets earns there
		credit += (__s64)earned - ((__s64)out << 10);
		turns -= 1024;
	}
	b->at = now;
	b->credit = credit < most ? credit : most;
	b->turns = turns < burst ? turns : burst;
	return yes;
}

SEC("xdp")
int answer(struct xdp_md *ctx) {
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	struct listener to = {};
	__u8 from[16] = {};
	struct ethhdr new_eth;
	__builtin_memcpy(new_eth.h_dest, eth->h_source, 6);
	__builtin_memcpy(new_eth.h_source, eth->h_dest, 6);
	new_eth.h_proto = eth->h_proto;
	__u32 v6, udp_at, datagram;
	struct udphdr *udp;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_UDP ||
		    (ip->frag_off & bpf_htons(0x3fff)))
			return XDP_PASS;
		to.addr[10] = to.addr[11] = from[10] = from[11] = 0xff;
		__builtin_memcpy(to.addr + 12, &ip->daddr, 4);
		__builtin_memcpy(from + 12, &ip->saddr, 4);
		v6 = 0;
		udp_at = sizeof(struct ethhdr) + sizeof(struct iphdr);
		datagram = bpf_ntohs(ip->tot_len) - sizeof(struct iphdr);
		udp = (void *)(ip + 1);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_UDP)
			return XDP_PASS;
		__builtin_memcpy(to.addr, &ip->daddr, 16);
		__builtin_memcpy(from, &ip->saddr, 16);
		v6 = 1;
		udp_at = sizeof(struct ethhdr) + sizeof(struct ipv6hdr);
		datagram = bpf_ntohs(ip->payload_len);
		udp = (void *)(ip + 1);
	} else {
		return XDP_PASS;
	}
	if ((void *)(udp + 1) > end)
		return XDP_PASS;
	to.port = udp->dest;
	if (udp->source == 0 || bpf_ntohs(udp->len) != datagram || !bpf_map_lookup_elem(&listeners, &to))
		return XDP_PASS;
	struct udphdr new_udp = {.source = udp->dest, .dest = udp->source};
	__u32 size = datagram - sizeof(struct udphdr);
	if (datagram < sizeof(struct udphdr) + HEADER + 5 || size > PAYLOAD_MOST)
		return XDP_PASS;
	__u32 zero = 0;
	struct scratch *s = bpf_map_lookup_elem(&scratches, &zero);
	if (!s || bpf_xdp_load_bytes(ctx, udp_at + sizeof(struct udphdr), s->payload, size))
		return XDP_PASS;
	__u32 room;
	__u32 asked = read_question(s, size, &room);
	if (asked < 5 || asked > QUESTION_MOST)
		return XDP_PASS;

	struct answer *a = bpf_map_lookup_elem(&answers, &s->key);
	if (!a) {
		count(ABSENT, 1);
		return XDP_PASS;
	}
	__u32 all = SLOTS, slot = a->slot;
	__u64 *generation = bpf_map_lookup_elem(&generations, &all), *own = bpf_map_lookup_elem(&generations, &slot);
	if (!generation || !own || *generation != a->generation || *own != a->slot_generation) {
		count(STALE, 1);
		return XDP_PASS;
	}
	__u32 body = a->size;
	__u32 begin = HEADER + asked; // of what is written before body
	__u32 whole = begin + body;
	if (body == 0 || body > BODY_SIZE || whole > room)
		return XDP_PASS;
	if (!allowed(from, size, whole)) {
		count(LIMITED, 1);
		return XDP_PASS;
	}

	__u8 *p = s->payload;
	p[2] = 0x84 | (p[2] & 1); // QR, AA, and RD as asked
	p[3] = 0;
	p[6] = a->answers & 255, p[7] = a->answers >> 8;
	p[8] = p[9] = 0;
	p[10] = a->extra & 255, p[11] = a->extra >> 8;
	// zeros to the next word, for the sum
	p[begin & 255] = p[(begin + 1) & 255] = p[(begin + 2) & 255] = p[(begin + 3) & 255] = 0;

	new_udp.len = bpf_htons(sizeof(struct udphdr) + whole);
	__u32 words = (begin + 3) & ~3u;
	if (words > 128)
		return XDP_PASS;
	__u64 sum = bpf_csum_diff(0, 0, (__be32 *)p, words, 0) & 0xffffffff;
	__u16 of_body = a->sum;
	if (begin & 1)
		of_body = of_body << 8 | of_body >> 8;
	sum += of_body;
	sum += (__u64)new_udp.len * 2; // in the header and in the pseudo-header
	sum += new_udp.source + new_udp.dest + bpf_htons(IPPROTO_UDP);
	sum += bpf_csum_diff(0, 0, (__be32 *)from, 16, 0) & 0xffffffff;
	sum += bpf_csum_diff(0, 0, (__be32 *)to.addr, 16, 0) & 0xffffffff;
	new_udp.check = ~fold(sum);
	if (new_udp.check == 0)
		new_udp.check = 0xffff;

	int have = ctx->data_end - ctx->data;
	int want = udp_at + sizeof(struct udphdr) + whole;
	int before = want - have, behind = 0; // where the frame grows
	if (before > MOST_GROWTH) {
		behind = before - MOST_GROWTH;
		before = MOST_GROWTH;
	}
	if (behind > 0 && bpf_xdp_adjust_tail(ctx, behind)) {
		count(NO_ROOM, 1);
		return XDP_PASS;
	}
	if (bpf_xdp_adjust_head(ctx, -before)) {
		count(NO_ROOM, 1);
		if (behind > 0 && bpf_xdp_adjust_tail(ctx, -behind))
			return XDP_DROP;
		return XDP_PASS;
	}
	// From here on the frame is ours: what fails now is dropped.
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	*eth = new_eth;
	if (v6) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end)
			return XDP_DROP;
		__builtin_memset(ip, 0, sizeof(*ip));
		ip->version = 6;
		ip->payload_len = new_udp.len;
		ip->nexthdr = IPPROTO_UDP;
		ip->hop_limit = 64;
		__builtin_memcpy(&ip->saddr, to.addr, 16);
		__builtin_memcpy(&ip->daddr, from, 16);
	} else {
		struct iphdr *ip = (void *)(eth + 1);
		udp = (void *)(ip + 1);
		if ((void *)(udp + 1) > end)
			return XDP_DROP;
		__builtin_memset(ip, 0, sizeof(*ip));
		ip->version = 4;
		ip->ihl = 5;
		ip->tot_len = bpf_htons(sizeof(struct iphdr) + sizeof(struct udphdr) + whole);
		ip->frag_off = bpf_htons(0x4000); // DF
		ip->ttl = 64;
		ip->protocol = IPPROTO_UDP;
		__builtin_memcpy(&ip->saddr, to.addr + 12, 4);
		__builtin_memcpy(&ip->daddr, from + 12, 4);
		__u64 header = 0;
		__u16 *w = (__u16 *)ip;
#pragma unroll
		for (int i = 0; i < 10; i++)
			header += w[i];
		ip->check = ~fold(header);
	}
	*udp = new_udp;
	__u32 at = udp_at + sizeof(struct udphdr);
	if (begin > HEADER + QUESTION_MOST)
		return XDP_DROP;
	if (bpf_xdp_store_bytes(ctx, at, s->payload, begin) || bpf_xdp_store_bytes(ctx, at + begin, a->body, body))
		return XDP_DROP;
	count(ANSWERED, 1);
	count(kind(s->key.type), 1);
	count(OCTETS_IN, size);
	count(OCTETS_OUT, whole);
	if (v6)
		count(ANSWERED6, 1);
	if (s->key.edns)
		count(WITH_EDNS, 1);
	return XDP_TX;
}

char _license[] SEC("license") = "Dual MIT/GPL";
