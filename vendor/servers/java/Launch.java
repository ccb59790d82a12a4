import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginBundle;
import org.elasticsearch.plugins.PluginsLoader;

/** Launch HOME KEY=VALUE...: one node of Elasticsearch 8 or 9, on the class path; HOME/modules has its modules. */
public class Launch {
    public static void main(String[] words) throws Exception {
        Path home = Path.of(words[0]);
        Settings.Builder settings = Settings.builder().put("path.home", home).put("path.logs", home.resolve("logs"));
        for (int i = 1; i < words.length; i++) {
            int at = words[i].indexOf('=');
            settings.put(words[i].substring(0, at), words[i].substring(at + 1));
        }
        LogConfigurator.configureESLogging();
        LogConfigurator.registerErrorListener();
        Files.createDirectories(home.resolve("modules"));
        Files.createDirectories(home.resolve("plugins"));
        Environment env = InternalSettingsPreparer.prepareEnvironment(
            settings.build(), Map.of(), home.resolve("config"), () -> "node1");
        LogConfigurator.configure(env, true);
        Node node = new Node(env, PluginsLoader.createPluginsLoader(
            bundles("loadModulesBundles", env.modulesDir()), bundles("loadPluginsBundles", env.pluginsDir()), Map.of(), false));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
        node.start();
        Thread.currentThread().join();
    }

    /** What differs between versions: the last one has another parameter. */
    @SuppressWarnings("unchecked")
    private static Set<PluginBundle> bundles(String name, Path folder) throws Exception {
        for (Method method : PluginsLoader.class.getMethods())
            if (method.getName().equals(name))
                return (Set<PluginBundle>)
                    (method.getParameterCount() == 1 ? method.invoke(null, folder) : method.invoke(null, folder, false));
        throw new NoSuchMethodException(name);
    }

    private static void close(Node node) {
        try {
            node.close();
        } catch (java.io.IOException e) {
            e.printStackTrace();
        }
    }
}
