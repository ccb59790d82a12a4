import org.codelibs.opensearch.runner.OpenSearchRunner;

/** The runner's main. Its own roles of a node beat those of opensearch.yml: those of -Detl.node.roles beat both. */
public class Run {
    public static void main(String[] words) throws Exception {
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) ->
            settings.putList("node.roles", System.getProperty("etl.node.roles").split(",")));
        runner.build(words);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(runner)));
        Thread.currentThread().join();
    }

    private static void close(OpenSearchRunner runner) {
        try {
            runner.close();
        } catch (java.io.IOException e) {
            e.printStackTrace();
        }
    }
}
