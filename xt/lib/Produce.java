import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.FileInputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Java's own producer for records that the console tools cannot express.
 *
 * Arguments: FILE TOPIC property=value... The file holds, record after record,
 * key, value, the number of headers, and each header's name and value; every
 * length and number is a big-endian int, -1 stands for null. Prints the
 * partition and offset of each record, in the order of the file.
 */
public class Produce {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        for (int i = 2; i < args.length; i++) {
            String[] pair = args[i].split("=", 2);
            properties.put(pair[0], pair[1]);
        }
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        ByteArraySerializer bytes = new ByteArraySerializer();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties, bytes, bytes);
             DataInputStream in = new DataInputStream(new BufferedInputStream(new FileInputStream(args[0])))) {
            while (in.available() > 0) {
                ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(args[1], field(in), field(in));
                for (int headers = in.readInt(); headers > 0; headers--) {
                    record.headers().add(new String(field(in), "UTF-8"), field(in));
                }
                sent.add(producer.send(record));
            }
            producer.flush();
        }
        StringBuilder out = new StringBuilder();
        for (Future<RecordMetadata> one : sent) {
            out.append(one.get().partition()).append(' ').append(one.get().offset()).append('\n');
        }
        System.out.print(out);
    }

    private static byte[] field(DataInputStream in) throws Exception {
        int length = in.readInt();
        if (length < 0) {
            return null;
        }
        byte[] field = new byte[length];
        in.readFully(field);
        return field;
    }
}
