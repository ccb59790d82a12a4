package etl;

import java.io.Reader;
import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.charfilter.MappingCharFilter;
import org.apache.lucene.analysis.charfilter.NormalizeCharMap;
import org.apache.lucene.analysis.email.UAX29URLEmailTokenizer;
import org.apache.lucene.analysis.en.EnglishPossessiveFilter;
import org.apache.lucene.analysis.en.PorterStemFilter;
import org.apache.lucene.analysis.miscellaneous.ASCIIFoldingFilter;
import org.apache.lucene.analysis.miscellaneous.RemoveDuplicatesTokenFilter;
import org.apache.lucene.analysis.ngram.EdgeNGramTokenFilter;
import org.apache.lucene.analysis.pattern.PatternCaptureGroupTokenFilter;
import org.apache.lucene.analysis.ru.RussianLightStemFilter;
import org.apache.lucene.analysis.snowball.SnowballFilter;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.index.analysis.CharFilterFactory;
import org.elasticsearch.index.analysis.TokenFilterFactory;
import org.elasticsearch.index.analysis.TokenizerFactory;
import org.elasticsearch.indices.analysis.AnalysisModule.AnalysisProvider;
import org.elasticsearch.plugins.AnalysisPlugin;
import org.elasticsearch.plugins.Plugin;

/** The module with these is not published. The index of the users needs them, and the sample scripts the stemmers. */
abstract class Analysis extends Plugin implements AnalysisPlugin {
    @Override
    public Map<String, AnalysisProvider<TokenFilterFactory>> getTokenFilters() {
        return Map.of(
            "asciifolding", (index, env, name, settings) -> filter(name, ASCIIFoldingFilter::new),
            "edge_ngram", AnalysisPlugin.requiresAnalysisSettings(
                (index, env, name, settings) -> filter(name, in -> new EdgeNGramTokenFilter(
                    in, settings.getAsInt("min_gram", 1), settings.getAsInt("max_gram", 2), false))),
            "unique", (index, env, name, settings) -> filter(name, RemoveDuplicatesTokenFilter::new),
            "stemmer", AnalysisPlugin.requiresAnalysisSettings(
                (index, env, name, settings) -> filter(name, in -> stemmer(in, language(settings)))),
            "pattern_capture", AnalysisPlugin.requiresAnalysisSettings(
                (index, env, name, settings) -> filter(name, in -> captured(in, settings))));
    }

    @Override
    public Map<String, AnalysisProvider<CharFilterFactory>> getCharFilters() {
        return Map.of("mapping", AnalysisPlugin.requiresAnalysisSettings(
            (index, env, name, settings) -> mapped(name, settings)));
    }

    @Override
    public Map<String, AnalysisProvider<TokenizerFactory>> getTokenizers() {
        return Map.of("uax_url_email",
            (index, env, name, settings) -> TokenizerFactory.newFactory(name, UAX29URLEmailTokenizer::new));
    }

    private static TokenFilterFactory filter(String name, UnaryOperator<TokenStream> create) {
        return new TokenFilterFactory() {
            @Override
            public String name() {
                return name;
            }

            @Override
            public TokenStream create(TokenStream in) {
                return create.apply(in);
            }
        };
    }

    private static CharFilterFactory mapped(String name, Settings settings) {
        NormalizeCharMap.Builder rules = new NormalizeCharMap.Builder();
        for (String rule : settings.getAsList("mappings")) {
            String[] sides = rule.split("=>");
            rules.add(sides[0].strip(), sides[1].strip());
        }
        NormalizeCharMap map = rules.build();
        return new CharFilterFactory() {
            @Override
            public String name() {
                return name;
            }

            @Override
            public Reader create(Reader in) {
                return new MappingCharFilter(map, in);
            }
        };
    }

    private static String language(Settings settings) {
        return settings.get("language", settings.get("name", "english"));
    }

    private static TokenStream stemmer(TokenStream in, String language) {
        return switch (language) {
            case "english" -> new PorterStemFilter(in);
            case "light_russian" -> new RussianLightStemFilter(in);
            case "possessive_english" -> new EnglishPossessiveFilter(in);
            default -> new SnowballFilter(in, language.substring(0, 1).toUpperCase() + language.substring(1));
        };
    }

    private static TokenStream captured(TokenStream in, Settings settings) {
        Pattern[] all = settings.getAsList("patterns").stream().map(Pattern::compile).toArray(Pattern[]::new);
        return new PatternCaptureGroupTokenFilter(in, settings.getAsBoolean("preserve_original", true), all);
    }
}
