import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

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

    /** The class that tools end the process by has moved with Kafka 4.4. */
    private static Class<?> exit() throws ClassNotFoundException {
        try {
            return Class.forName("org.apache.kafka.common.utils.internals.Exit");
        } catch (ClassNotFoundException older) {
            return Class.forName("org.apache.kafka.common.utils.Exit");
        }
    }

    private static void keepAlive() throws ReflectiveOperationException {
        Class<?> exit = exit();
        Class<?> procedure = Class.forName(exit.getName() + "$Procedure");
        Object ends = Proxy.newProxyInstance(exit.getClassLoader(), new Class<?>[] {procedure}, (proxy, method, args) -> {
            throw new Ended();
        });
        exit.getMethod("setExitProcedure", procedure).invoke(null, ends);
        exit.getMethod("setHaltProcedure", procedure).invoke(null, ends);
    }

    public static void main(String[] args) throws Exception {
        PrintStream answers = System.out;
        keepAlive();
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
