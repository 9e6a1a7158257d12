using Subquartic.Attention;
using Subquartic.Criteria;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Attention;

public sealed class CertifiedAttentionTests : IDisposable
{
    private const int Side = 64, Width = 32;

    // As for larger maps.
    private static readonly CertifiedPlan Eager = new() { MergePairs = 0, Costs = new(new CertifiedCosts { Tile = 1, Entry = 1, Head = 1 }), TileSize = 96 };

    private readonly ScaleSchedule _maps = TokenFieldSampler.Schedule(Side);
    private readonly FloatBuffer _queries = new(Side * Side * Width), _keys = new(TokenFieldSampler.Schedule(Side).Tokens * Width);
    private readonly FloatBuffer _values = new(TokenFieldSampler.Schedule(Side).Tokens * Width), _output = new(Side * Side * Width);

    private int Keys => _maps.Tokens;

    [Theory]
    [InlineData(TokenFieldKind.Independent, 0, 0.25, 0.1)]
    [InlineData(TokenFieldKind.BandLimited, 1, 4, 0.7)]
    public void Heads_with_structure_take_less_work_and_meet_the_tolerance(TokenFieldKind kind, double parameter, double scale, double work)
    {
        Draw(new TokenField(kind, parameter, scale));
        using var attention = new CertifiedAttention(KernelSet.Best, 1e-2, Eager);
        var bounds = new double[Side * Side];
        Certificate certificate = attention.Attend(Input(), One(_output, Side * Side), bounds);
        Assert.InRange(certificate.Work, 0, work);
        Assert.InRange(certificate.ExactRows, 0, certificate.Rows / 10);
        Assert.InRange(certificate.ErrorBound, 0, 1e-2 * Range());
        Assert.InRange(LargestRatio(bounds), 0, 1);
    }

    [Fact]
    public void A_head_without_structure_equals_the_exact_result_to_the_bit()
    {
        Draw(new TokenField(TokenFieldKind.Independent, 0, 24));
        using var attention = new CertifiedAttention(KernelSet.Best, 1e-2, Eager with { Quantized = false });
        Certificate certificate = attention.Attend(Input(), One(_output, Side * Side));
        using var exact = new FloatBuffer(_output.Length);
        new ExactAttention(KernelSet.Best).Attend(Input(), One(exact, Side * Side));
        Assert.Equal(AttentionPath.Exact, certificate.Path);
        Assert.True(exact.Span().SequenceEqual(_output.Span()));
        Assert.InRange(certificate.Work, 1, 1.05);
    }

    [Theory]
    [InlineData(TokenFieldKind.Independent, 0, 0.25)]
    [InlineData(TokenFieldKind.BandLimited, 1, 4)]
    [InlineData(TokenFieldKind.Independent, 0, 16)]
    public void Bits_do_not_depend_on_threads_or_on_other_heads(TokenFieldKind kind, double parameter, double scale)
    {
        Draw(new TokenField(kind, parameter, scale));
        KernelSet one = KernelSet.Create(KernelSet.Best.Name, 1), three = KernelSet.Create(KernelSet.Best.Name, 3);
        using var alone = new CertifiedAttention(one, 1e-2, Eager);
        using var shared = new CertifiedAttention(three, 1e-2, Eager);
        alone.Attend(Input(), One(_output, Side * Side));
        float[] expected = _output.Span().ToArray();

        // Another head goes before it, in the same call: the first half of the columns, as a head of its own.
        using FloatBuffer first = new(_keys.Length), both = new(_output.Length * 2);
        var random = new Random(5);
        foreach (ref float value in first.Span())
        {
            value = random.NextSingle();
        }

        HeadTensor Pair(FloatBuffer buffer, int rows)
        {
            using var joined = new FloatBuffer(2L * rows * Width);
            first.Span(0, rows * Width).CopyTo(joined.Span(0, rows * Width));
            buffer.Span().CopyTo(joined.Span((long)rows * Width, rows * Width));
            return new HeadTensor(FloatBuffer.Of(joined.Span()), 0, 1, 2, rows, Width, 2L * rows * Width, (long)rows * Width, Width);
        }

        var input = new AttentionInput(Pair(_queries, Side * Side), Pair(_keys, Keys), Pair(_values, Keys), 1, _maps);
        shared.Attend(input, new HeadTensor(both, 0, 1, 2, Side * Side, Width, _output.Length * 2, _output.Length, Width));
        Assert.True(both.Span(_output.Length, (int)_output.Length).SequenceEqual(expected));
        one.Pool.Dispose();
        three.Pool.Dispose();
    }

    [Fact]
    public void Small_calls_are_exact_and_carry_their_rounding()
    {
        Draw(new TokenField(TokenFieldKind.Independent, 0, 1));
        AttentionInput all = Input();
        var input = new AttentionInput(all.Queries.SliceRows(0, 4), all.Keys.SliceRows(0, 9), all.Values.SliceRows(0, 9), 1);
        using var attention = new CertifiedAttention(KernelSet.Best, 1e-2);
        var bounds = new double[4];
        Certificate certificate = attention.Attend(input, One(_output, Side * Side).SliceRows(0, 4), bounds);
        Assert.Equal(AttentionPath.Exact, certificate.Path);
        double rounding = ExactAttention.RoundingBound(input);
        Assert.All(bounds, bound => Assert.InRange(bound, rounding * 0.999, rounding * 1.001));
        Assert.Throws<ArgumentException>(() => attention.Attend(input, One(_output, Side * Side).SliceRows(0, 4), new double[3]));
    }

    [Fact]
    public void A_tolerance_must_be_positive() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new CertifiedAttention(KernelSet.Best, 0));

    public void Dispose()
    {
        _queries.Dispose();
        _keys.Dispose();
        _values.Dispose();
        _output.Dispose();
    }

    private static HeadTensor One(FloatBuffer buffer, int rows) => HeadTensor.Interleaved(buffer.Matrix(rows, Width), 1, 1);

    private AttentionInput Input() => new(One(_queries, Side * Side), One(_keys, Keys), One(_values, Keys), 1, _maps);

    private void Draw(TokenField field) => TokenFieldSampler.Draw(
        field, _maps, Width, 3, _queries.Matrix(Side * Side, Width), _keys.Matrix(Keys, Width), _values.Matrix(Keys, Width));

    private double Range() => Enumerable.Range(0, Width).Max(c =>
    {
        float[] column = [.. Enumerable.Range(0, Keys).Select(j => _values.Span()[(j * Width) + c])];
        return (double)column.Max() - column.Min();
    });

    /// <summary>Largest error over bound of 32 rows.</summary>
    private double LargestRatio(double[] bounds)
    {
        using var expected = new FloatBuffer(Width);
        double largest = 0;
        for (int i = 0; i < 32; i++)
        {
            int row = i * Side * Side / 32;
            new ReferenceAttention().Attend(Input() with { Queries = Input().Queries.SliceRows(row, 1) }, One(expected, 1));
            for (int c = 0; c < Width; c++)
            {
                double error = Math.Abs((double)expected.Span()[c] - _output.Span()[(row * Width) + c]);
                largest = Math.Max(largest, error / bounds[row]);
            }
        }

        return largest;
    }
}
