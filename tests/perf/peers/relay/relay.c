/* The limit: batches of records are copied in transactions, neither read nor scored, by two producers that take turns.
 *
 * It is linked with the librdkafka that comes with confluent-kafka, which has no header: what is used is declared here.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

typedef struct client client;
typedef struct conf conf;
typedef struct error error;
typedef struct group group;
typedef struct partitions partitions;
typedef struct queue queue;
typedef struct topic topic;

typedef struct {
    int err;
    topic *from;
    int32_t partition;
    void *payload;
    size_t len;
    void *key;
    size_t key_len;
    int64_t offset;
    void *hidden;
} message;

typedef struct {
    char *name;
    int partitions;
    struct partition_metadata *of_partitions;
    int err;
} topic_metadata;

typedef struct {
    int brokers;
    struct broker_metadata *of_brokers;
    int topics;
    topic_metadata *of_topics;
} metadata;

conf *rd_kafka_conf_new(void);
int rd_kafka_conf_set(conf *, const char *, const char *, char *, size_t);
void rd_kafka_conf_set_dr_msg_cb(conf *, void (*)(client *, const message *, void *));
client *rd_kafka_new(int, conf *, char *, size_t);
topic *rd_kafka_topic_new(client *, const char *, void *);
int rd_kafka_metadata(client *, int, topic *, const metadata **, int);
void rd_kafka_metadata_destroy(const metadata *);
partitions *rd_kafka_topic_partition_list_new(int);
struct partition *rd_kafka_topic_partition_list_add(partitions *, const char *, int32_t);
struct partition *rd_kafka_topic_partition_list_find(partitions *, const char *, int32_t);
void rd_kafka_topic_partition_list_destroy(partitions *);
int rd_kafka_topic_partition_list_set_offset(partitions *, const char *, int32_t, int64_t);
int rd_kafka_subscribe(client *, const partitions *);
int rd_kafka_poll_set_consumer(client *);
queue *rd_kafka_queue_get_consumer(client *);
ssize_t rd_kafka_consume_batch_queue(queue *, int, message **, size_t);
void rd_kafka_message_destroy(message *);
int rd_kafka_produce_batch(topic *, int32_t, int, message *, int);
group *rd_kafka_consumer_group_metadata(client *);
void rd_kafka_consumer_group_metadata_destroy(group *);
error *rd_kafka_init_transactions(client *, int);
error *rd_kafka_begin_transaction(client *);
error *rd_kafka_send_offsets_to_transaction(client *, const partitions *, const group *, int);
error *rd_kafka_commit_transaction(client *, int);
const char *rd_kafka_error_string(const error *);
int rd_kafka_flush(client *, int);

enum { PRODUCER, CONSUMER, COPY = 2, WAIT_MS = 100, LIMIT_MS = 60000 };
enum { AS_CONSUMED = 8 }; /* each record has its partition */

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void check(error *found) {
    if (found != NULL) fail(rd_kafka_error_string(found));
}

static const char *setting(const char *name) {
    const char *value = getenv(name);
    if (value == NULL) fail(name);
    return value;
}

static void set(conf *config, const char *name, const char *value) {
    char reason[512];
    if (rd_kafka_conf_set(config, name, value, reason, sizeof reason) != 0) fail(reason);
}

static client *connect_with(int kind, conf *config) {
    char reason[512];
    set(config, "bootstrap.servers", setting("PEER_BOOTSTRAP"));
    client *made = rd_kafka_new(kind, config, reason, sizeof reason);
    if (made == NULL) fail(reason);
    return made;
}

/* Without a callback for deliveries a flush looks for them every ten milliseconds only. */
static void delivered(client *producer, const message *record, void *opaque) {
    (void)producer, (void)opaque;
    if (record->err != 0) fail("a record was not delivered");
}

static client *open_producer(int number) {
    char id[256];
    conf *config = rd_kafka_conf_new();
    snprintf(id, sizeof id, "%s-%d", setting("PEER_MEMBER"), number);
    set(config, "transactional.id", id);
    set(config, "linger.ms", "5");
    set(config, "retry.backoff.ms", "2");
    set(config, "queue.buffering.max.messages", "1000000");
    rd_kafka_conf_set_dr_msg_cb(config, delivered);
    client *producer = connect_with(PRODUCER, config);
    check(rd_kafka_init_transactions(producer, LIMIT_MS));
    return producer;
}

/* Waits until the topic is known: a batch for one that its broker has just made is never sent by this client. */
static topic *open_output(client *producer) {
    topic *output = rd_kafka_topic_new(producer, setting("PEER_OUTPUT"), NULL);
    for (int known = 0; !known;) {
        const metadata *found;
        if (rd_kafka_metadata(producer, 0, output, &found, LIMIT_MS) != 0) fail("there is no metadata");
        known = found->topics == 1 && found->of_topics[0].err == 0 && found->of_topics[0].partitions > 0;
        rd_kafka_metadata_destroy(found);
        if (!known) usleep(WAIT_MS * 1000);
    }
    return output;
}

static client *open_consumer(void) {
    conf *config = rd_kafka_conf_new();
    set(config, "group.id", setting("PEER_GROUP"));
    set(config, "auto.offset.reset", "earliest");
    set(config, "enable.auto.commit", "false");
    set(config, "isolation.level", "read_committed");
    set(config, "queued.max.messages.kbytes", "32768");
    set(config, "fetch.queue.backoff.ms", "10"); /* as a lane has it; a second by default */
    client *consumer = connect_with(CONSUMER, config);
    partitions *wanted = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(wanted, setting("PEER_TOPIC"), -1);
    rd_kafka_poll_set_consumer(consumer);
    if (rd_kafka_subscribe(consumer, wanted) != 0) fail("cannot subscribe");
    return consumer;
}

/* The partition goes on after this record. */
static void note(partitions *done, const char *source, const message *record) {
    if (rd_kafka_topic_partition_list_find(done, source, record->partition) == NULL)
        rd_kafka_topic_partition_list_add(done, source, record->partition);
    rd_kafka_topic_partition_list_set_offset(done, source, record->partition, record->offset + 1);
}

int main(void) {
    const char *source = setting("PEER_TOPIC");
    const int most = atoi(setting("PEER_TRANSACTION_RECORDS")), linger = atoi(setting("PEER_LINGER_MS"));
    client *consumer = open_consumer(), *producers[2] = {open_producer(0), open_producer(1)};
    topic *outputs[2];
    for (int i = 0; i < 2; i++) outputs[i] = open_output(producers[i]);
    queue *records = rd_kafka_queue_get_consumer(consumer);
    message **batch = calloc(most, sizeof *batch), *copies = calloc(most, sizeof *copies);
    for (int turn = 0;;) {
        /* The first record is waited for, and then, for a while, a full transaction. */
        ssize_t found = rd_kafka_consume_batch_queue(records, WAIT_MS, batch, 1);
        if (found == 1 && most > 1) found += rd_kafka_consume_batch_queue(records, linger, batch + 1, most - 1);
        int count = 0;
        partitions *done = rd_kafka_topic_partition_list_new(1);
        for (ssize_t i = 0; i < found; i++) {
            if (batch[i]->err != 0) continue;
            copies[count++] = *batch[i];
            const message *next = i + 1 < found ? batch[i + 1] : NULL;
            if (next == NULL || next->err != 0 || next->partition != batch[i]->partition) note(done, source, batch[i]);
        }
        if (count > 0) {
            client *producer = producers[turn];
            check(rd_kafka_begin_transaction(producer));
            if (rd_kafka_produce_batch(outputs[turn], -1, COPY | AS_CONSUMED, copies, count) != count) fail("the queue is full");
            if (rd_kafka_flush(producer, LIMIT_MS) != 0) fail("records were not delivered in time");
            group *member = rd_kafka_consumer_group_metadata(consumer);
            check(rd_kafka_send_offsets_to_transaction(producer, done, member, LIMIT_MS));
            check(rd_kafka_commit_transaction(producer, LIMIT_MS));
            rd_kafka_consumer_group_metadata_destroy(member);
            turn ^= 1;
        }
        rd_kafka_topic_partition_list_destroy(done);
        for (ssize_t i = 0; i < found; i++) rd_kafka_message_destroy(batch[i]);
    }
}
