import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.kafka.common.utils.internals.Exit;

/**
 * Kafka's command-line tools, one after the other in one process.
 *
 * Reads lines of a class and its arguments, with tabs between them, and answers each by the number of bytes that the
 * tool has printed, a newline, and these bytes.
 */
public class Tools {
    /** What a tool ends with in the place of the process. */
    private static class Ended extends RuntimeException {
        Ended() {
            super(null, null, false, false);
        }
    }

    public static void main(String[] args) throws Exception {
        PrintStream answers = System.out;
        Exit.setExitProcedure((status, message) -> {
            throw new Ended();
        });
        Exit.setHaltProcedure((status, message) -> {
            throw new Ended();
        });
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split("\t", -1);
            ByteArrayOutputStream printed = new ByteArrayOutputStream();
            PrintStream out = new PrintStream(printed, true, StandardCharsets.UTF_8);
            System.setOut(out);
            System.setErr(out);
            try {
                run(words[0], Arrays.copyOfRange(words, 1, words.length));
            } catch (Ended ended) {
                // As it should.
            } catch (Throwable error) {
                error.printStackTrace(out);
            }
            out.flush();
            answers.print(printed.size() + "\n");
            answers.write(printed.toByteArray());
            answers.flush();
        }
    }

    private static void run(String name, String[] arguments) throws Throwable {
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (InvocationTargetException error) {
            throw error.getCause();
        }
    }
}
