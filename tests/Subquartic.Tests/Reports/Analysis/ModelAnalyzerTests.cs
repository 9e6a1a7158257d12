using System.Text.RegularExpressions;
using System.Xml.Linq;
using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Criteria;
using Subquartic.Generation;
using Subquartic.Imaging;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Reports.Analysis;

namespace Subquartic.Tests.Reports.Analysis;

public sealed class ModelAnalyzerTests : IDisposable
{
    private static readonly VarConfig s_var = new()
    {
        Depth = 2, Width = 12, Heads = 3, HiddenWidth = 16, Classes = 3, Vocabulary = 20, CodeChannels = 4, AttentionL2Norm = true,
        SharedAdaLn = false, Scales = ScaleSchedule.Square(1, 2, 4),
    };

    private static readonly VqVaeConfig s_vqVae = new()
    {
        Vocabulary = 20, CodeChannels = 4, BaseChannels = 32, ChannelMultipliers = [1, 1], ResidualBlocks = 1, SharedPhi = 2,
    };

    private readonly string _folder = Directory.CreateTempSubdirectory("subquartic-").FullName;

    [Fact]
    public void Every_head_is_measured_at_every_scale_and_within_the_bound_of_its_weights()
    {
        ModelAnalysis analysis = Analyze(s_var, [4, 1000], images: 3);
        Assert.Equal(
            from scale in Enumerable.Range(0, 3) from layer in Enumerable.Range(0, 2) from head in Enumerable.Range(0, 3) select (scale, layer, head),
            analysis.Heads.Select(head => (head.Scale, head.Layer, head.Head)));
        Assert.All(analysis.Heads, head =>
        {
            Assert.Equal((s_var.Scales[head.Scale].Tokens, s_var.Scales.Start(head.Scale + 1)), (head.Queries, head.Keys));
            Assert.InRange(head.Score, 0, head.ScoreBound!.Value * (1 + 1e-5));
            Assert.InRange(head.LargestQuery, 0, head.ScoreBound!.Value * (1 + 1e-5)); // no entry exceeds the length of the query
            Assert.InRange(head.CentredScore, 0, head.CertifiedHalfRange + 1e-5); // scores are rounded to float32
            Assert.InRange(head.RowHalfRange, 0, Math.Min(head.Score, head.KeyCentredScore) + 1e-5);
            Assert.InRange(head.Entropy, 0, 1 + 1e-6);
            Assert.InRange(head.KeyRank, 0, s_var.HeadWidth);
        });
        Assert.Equal((3, 32), (analysis.Decoder.Count, analysis.Decoder[0].Width));
        Assert.All(analysis.Decoder, head => Assert.Equal((16, 16, null), (head.Queries, head.Keys, head.ScoreBound)));

        // Two rows an image, with and without its class; three heads; the pairs of the schedule.
        Assert.Equal(5, analysis.Histograms.Count);
        Assert.Equal(3 * 2 * 3 * (long)AttentionCost.KvCachedPairs(s_var.Scales), analysis.Histograms[0].Scores.Counts.Sum());
        Assert.Equal(3 * 16L * 16, analysis.Histograms[^1].Scores.Counts.Sum());

        Assert.Equal([4, 1000], analysis.Sizes.Select(size => size.Side));
        Assert.Equal([false, true], analysis.Sizes.Select(size => size.Extrapolated));
        SizeAnalysis large = analysis.Sizes[1];
        Assert.Equal((1e6, 21e6 / 16), (large.Queries, large.Keys));
        Assert.All(large.Heads, head => Assert.Equal(Verdict.Holds, head.FiniteVerdict)); // width 4 and scores bounded: cheap at last
        Assert.True(large.Mixed < large.Exact);
        Assert.Equal(6, large.Score.Holds + large.Score.Unknown + large.Score.Fails);
    }

    [Fact]
    public void Without_normalisation_nothing_is_promised()
    {
        ModelAnalysis analysis = Analyze(s_var with { AttentionL2Norm = false }, [512], images: 1);
        Assert.All(analysis.Heads, head => Assert.Null(head.ScoreBound));
        Assert.DoesNotContain(analysis.Sizes, size => size.Score.Holds + size.Entry.Holds + size.Finite.Holds > 0);
    }

    [Fact]
    public void Strategies_are_tried_on_every_head_and_gain_with_n()
    {
        // Scores of a quarter or so, and much allowed: heads are flat enough to be summed up at once.
        ModelAnalysis analysis = Analyze(s_var with { AttentionL2Norm = false }, [4, 64], images: 2, tolerance: 0.2);
        Assert.Equal(2 * 2 * 6, analysis.Operators.Count); // strategies, sizes, heads; of one image
        Assert.All(analysis.Operators, run => Assert.Equal(run.Side != 4, run.Enlarged));
        Assert.All(analysis.Operators.Where(run => !run.Enlarged), run => Assert.Equal((0, 1), (run.FastRows, run.Work))); // 16 queries
        Assert.Contains(analysis.Operators, run => run is { Side: 64, FastRows: > 0.5, Work: < 0.9 });
        Assert.All(analysis.Operators, run => Assert.True(run.Work > 0, $"{run}"));
    }

    [Fact]
    public void Approximate_attention_is_compared_token_by_token_and_call_by_call()
    {
        ModelAnalysis analysis = Analyze(s_var, [4], images: 2);
        Assert.Equal(["low-rank", "certified"], analysis.Agreement.Select(run => run.Strategy));
        Assert.All(analysis.Agreement, run =>
        {
            Assert.Equal((2 * 21, 2 * ((2 * 3) + 3)), (run.Tokens, run.Calls));
            Assert.Equal(run.Calls, run.BoundsHeld);
            Assert.InRange(run.LargestError, 0, run.LargestBound);
        });
        Assert.Equal(analysis.Agreement[1].Tokens, analysis.Agreement[1].IdenticalTokens); // too few tokens for anything but exact attention
    }

    [Fact]
    public void A_bound_that_is_broken_is_noticed()
    {
        using var memory = new FloatBuffer(4 * 8);
        memory.Span().Fill(1);
        memory.Span()[9] = 2;
        HeadTensor x = HeadTensor.Interleaved(memory.Matrix(4, 4), 1, 1), output = HeadTensor.Interleaved(memory.Matrix(4, 4, 16), 1, 1);
        using var judged = new JudgedAttention(new Liar());
        judged.Attend(new AttentionInput(x, x, x, 1), output);
        Assert.Equal((1, 0), (judged.Summary.Calls, judged.BoundsHeld));
        Assert.True(judged.LargestError > judged.LargestBound && judged.Tightest > 1);
    }

    [Fact]
    public void Same_seed_same_numbers_whatever_the_threads()
    {
        ModelAnalysis one = Analyze(s_var, [4], 2, KernelSet.Create("vector256", 1)), three = Analyze(s_var, [4], 2, KernelSet.Create("vector256", 3));
        Assert.Equal(one.Heads, three.Heads);
        Assert.Equal(AnalysisMarkdown.Write(one), AnalysisMarkdown.Write(three));
    }

    [Fact]
    public void The_page_is_well_formed_and_needs_nothing_from_elsewhere()
    {
        ModelAnalysis analysis = Analyze(s_var, [4, 64], images: 1, name: "a<b>&c");
        string page = AnalysisPage.Write(analysis);
        Assert.StartsWith("<!DOCTYPE html>\n", page, StringComparison.Ordinal);
        XElement root = XDocument.Parse(page[page.IndexOf('\n', StringComparison.Ordinal)..]).Root!;
        Assert.Equal("Attention of a<b>&c", root.Descendants("title").First().Value);
        Assert.DoesNotMatch("(?i)<script|<link|src=\"(?!data:image/png)|href=|url\\(|@import", page);
        Assert.All(Regex.Matches(page, "https?://[^\"]*").Select(match => match.Value), address => Assert.Equal("http://www.w3.org/2000/svg", address));
        Assert.DoesNotContain("NaN", page, StringComparison.Ordinal);

        // Elements of HTML that may not be empty would swallow what follows.
        string[] empty = ["meta", "input", "img"];
        Assert.All(
            root.Descendants().Where(element => element.Name.NamespaceName.Length == 0 && element.IsEmpty), element => Assert.Contains(element.Name.LocalName, empty));

        XElement[] strips = [.. root.Descendants("img")];
        Assert.Equal(2, strips.Length); // at the top, and with the most rows approximated
        RgbImage strip = ImageFile.Decode(Convert.FromBase64String(((string)strips[0].Attribute("src")!).Split(',')[1]), "strip");
        Assert.True(strip.Bytes.SequenceEqual(analysis.Images[0].Images[0].Bytes));

        XNamespace svg = "http://www.w3.org/2000/svg";
        Assert.Equal(6, root.Descendants(svg + "circle").Count()); // the heads of the last scale
        Assert.Equal((5 * 3) + (2 * 2), root.Descendants("figure").Count(figure => (string?)figure.Attribute("class") == "map")); // five quantities at three scales; two strategies at two n
        string markdown = AnalysisMarkdown.Write(analysis);
        Assert.Contains("| layer 2, head 3 |", markdown, StringComparison.Ordinal);
        Assert.Equal(3 * 2, markdown.Split('\n').Count(line => Regex.IsMatch(line, @"^[.:\-=+*%#@]{3}$"))); // three heads a line
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>Gives zeros and says that they are near.</summary>
    private sealed class Liar : IAttention
    {
        public string Name => "liar";

        public Certificate Attend(in AttentionInput input, HeadTensor output)
        {
            output[0, 0].Span().Clear();
            return new Certificate(0.5, AttentionPath.LowRank, "", 1, 0, input.Queries.Rows, 0);
        }
    }

    private ModelAnalysis Analyze(VarConfig var, int[] sides, int images, KernelSet? kernels = null, string name = "small", double tolerance = 1e-2)
    {
        RandomModel.Write(_folder, var, s_vqVae, TensorType.Float32, 5);
        File.WriteAllText(Path.Combine(_folder, "var.json"), "{ \"num_heads\": 3 }");
        using ModelFiles files = ModelFiles.Open(_folder);
        var request = new GenerationRequest { Labels = [.. Enumerable.Range(0, images).Select(i => i % 3)], Seed = 1 };
        return ModelAnalyzer.Analyze(files, name, request, tolerance, sides, kernels ?? KernelSet.Best);
    }
}
