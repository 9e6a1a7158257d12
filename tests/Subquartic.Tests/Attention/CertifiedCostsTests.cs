using Subquartic.Attention;
using Subquartic.Criteria;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Attention;

public sealed class CertifiedCostsTests : IDisposable
{
    private static readonly KernelSet Kernels = KernelSet.Best;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("subquartic-costs-");

    private string File => Path.Combine(_folder.FullName, "deeper", "costs.json");

    [Fact]
    public void What_is_written_is_read()
    {
        var costs = new CertifiedCosts { List = 1.25, Tile = 17.5, Entry = 33, Head = 101 };
        costs.Write(File, Kernels);
        Assert.Equal(costs, CertifiedCosts.Read(File, Kernels));
        Assert.Equal([File], Directory.GetFiles(Path.GetDirectoryName(File)!)); // no temporary file stays
        Assert.Equal(costs, CertifiedCosts.ForThisMachine(Kernels, File, line => Assert.Fail(line)));
    }

    [Theory]
    [InlineData("\"list\": 1.25", "\"list\": 0", "list is 0")]
    [InlineData("\"list\": 1.25", "\"list\": 11", "list is 11")]
    [InlineData("\"tile\": 17.5", "\"tile\": -3", "tile is -3")]
    [InlineData("\"entry\": 33", "\"entry\": 1e300", "entry is 1E+300")]
    [InlineData("\"head\": 101", "\"head\": \"NaN\"", "$.head")]
    [InlineData("\"head\": 101", "\"feet\": 2", "head")]
    [InlineData("\"version\": 2", "\"version\": 1", "version 2")]
    [InlineData("\"kernels\": \"", "\"kernels\": \"other-", "measured with other-")]
    [InlineData("\"processor\": \"", "\"processor\": \"Another ", "on Another ")]
    [InlineData("{", "[", "costs.json")]
    public void A_file_that_cannot_be_trusted_is_refused_and_says_why(string what, string instead, string why)
    {
        new CertifiedCosts { List = 1.25, Tile = 17.5, Entry = 33, Head = 101 }.Write(File, Kernels);
        string text = System.IO.File.ReadAllText(File);
        Assert.Contains(what, text, StringComparison.Ordinal);
        System.IO.File.WriteAllText(File, text.Replace(what, instead, StringComparison.Ordinal));
        InvalidDataException error = Assert.Throws<InvalidDataException>(() => CertifiedCosts.Read(File, Kernels));
        Assert.Contains(why, error.Message, StringComparison.Ordinal);
        Assert.Contains(File, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_bad_file_is_measured_anew_and_replaced()
    {
        Directory.CreateDirectory(Path.GetDirectoryName(File)!);
        System.IO.File.WriteAllText(File, "null");
        var said = new List<string>();
        CertifiedCosts costs = CertifiedCosts.ForThisMachine(Kernels, File, said.Add);
        Assert.Contains("anew", Assert.Single(said), StringComparison.Ordinal);
        Assert.Equal(costs, CertifiedCosts.Read(File, Kernels));
        Assert.Equal(costs, CertifiedCosts.ForThisMachine(Kernels, File, said.Add));
        Assert.Single(said);
    }

    [Fact]
    public void Costs_that_cannot_be_kept_serve_all_the_same()
    {
        string file = Path.Combine(_folder.FullName, "taken");
        System.IO.File.WriteAllText(file, "a file where a folder would have to be");
        var said = new List<string>();
        CertifiedCosts costs = CertifiedCosts.ForThisMachine(Kernels, Path.Combine(file, "costs.json"), said.Add);
        Assert.Contains("not kept", Assert.Single(said), StringComparison.Ordinal);
        Assert.InRange(costs.List, 0.5, 10);
    }

    [Fact]
    public void Costs_decide_whether_a_head_is_merged_and_are_asked_for_only_then()
    {
        const int side = 64, width = 64;
        ScaleSchedule maps = TokenFieldSampler.Schedule(side);
        int queries = side * side, keys = maps.Tokens;
        using var memory = new FloatBuffer(((3L * queries) + (2L * keys)) * width);
        Matrix q = memory.Matrix(queries, width), k = memory.Matrix(keys, width, (long)queries * width), v = memory.Matrix(keys, width, (long)(queries + keys) * width);
        HeadTensor output = One(memory.Matrix(queries, width, (queries + (2L * keys)) * width)), exactly = One(memory.Matrix(queries, width, ((2L * queries) + (2L * keys)) * width));
        var input = new AttentionInput(One(q), One(k), One(v), 1, maps);

        TokenFieldSampler.Draw(new TokenField(TokenFieldKind.BandLimited, 1, 4), maps, width, 1, q, k, v);
        Assert.True(Attend(new CertifiedCosts()).MergedRows > queries / 2);

        // Dear summaries, lists or entries: refused before anything is built for all keys, so that hardly more than exact attention is computed.
        new ExactAttention(Kernels).Attend(input, exactly);
        CertifiedCosts[] dear = [new() { Head = 4000, Quantized = 1 }, new() { Tile = 400, Quantized = 1 }, new() { Entry = 5000, List = 30, Quantized = 1 }];
        foreach (CertifiedCosts costs in dear)
        {
            Certificate certificate = Attend(costs);
            Assert.Equal((AttentionPath.Exact, "merging keys would take as long"), (certificate.Path, certificate.Reason));
            Assert.InRange(certificate.Work, 1, 1.01);
            Assert.True(output[0, 0].Span().SequenceEqual(exactly[0, 0].Span()));
        }

        // Integers where they are cheaper, also than merging.
        Assert.Equal(queries, Attend(dear[0] with { Quantized = 0.8 }).QuantizedRows);
        Assert.True(Attend(new CertifiedCosts { Quantized = 0.2 }).QuantizedRows > queries / 2);

        // Nothing to decide.
        var never = new Lazy<CertifiedCosts>(() => throw new InvalidOperationException("asked for"));
        using var attention = new CertifiedAttention(Kernels, 1e-2, never);
        attention.Attend(input with { Queries = input.Queries.SliceRows(0, 4) }, output.SliceRows(0, 4));
        TokenFieldSampler.Draw(new TokenField(TokenFieldKind.Independent, 0, 400), maps, width, 1, q, k, v);
        attention.Attend(input, output);

        Certificate Attend(CertifiedCosts costs)
        {
            using var attention = new CertifiedAttention(Kernels, 1e-2, new Lazy<CertifiedCosts>(costs));
            return attention.Attend(input, output);
        }
    }

    public void Dispose() => _folder.Delete(recursive: true);

    private static HeadTensor One(Matrix matrix) => HeadTensor.Interleaved(matrix, 1, 1);
}
