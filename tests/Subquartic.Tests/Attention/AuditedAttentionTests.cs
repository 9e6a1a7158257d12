using Subquartic.Attention;
using Subquartic.Criteria;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Attention;

public sealed class AuditedAttentionTests
{
    private const int Width = 16;

    private static readonly AuditOptions Few = new() { Rows = 96, Confidence = 0.9 };

    private static readonly CertifiedPlan Eager = new() { LeastPairs = 0, MergePairs = 0, Costs = new(new CertifiedCosts { Tile = 1, Entry = 1 }), TileSize = 48, Flat = false };

    [Fact]
    public void A_smooth_head_passes_with_less_work_and_says_that_nothing_is_proved()
    {
        using Head head = new(new TokenField(TokenFieldKind.BandLimited, 1, 4), 1, 32);
        using var attention = new AuditedAttention(KernelSet.Best, 2e-2, Few, Eager);
        Certificate certificate = attention.Attend(head.Input, head.Output);
        Assert.Equal((AttentionPath.Audited, double.PositiveInfinity), (certificate.Path, certificate.ErrorBound));
        Assert.InRange(certificate.AuditedRows, 800, 1024);
        Assert.InRange(certificate.Work, 0, 0.8);
        Assert.InRange(head.ShareBeyond(2e-2), 0, Few.ShareBeyond);
    }

    [Fact]
    public void A_head_that_fails_its_audits_is_exact_to_the_bit()
    {
        using Head head = new(new TokenField(TokenFieldKind.PowerLaw, 2, 12), 2);
        using var attention = new AuditedAttention(KernelSet.Best, 1e-5, Few, Eager with { AuditedErrorLimit = double.PositiveInfinity, WorthIt = 10 });
        Certificate certificate = attention.Attend(head.Input, head.Output);
        float[] audited = head.Memory.Span().ToArray();
        new ExactAttention(KernelSet.Best).Attend(head.Input, head.Output);
        Assert.Equal((AttentionPath.Exact, 0), (certificate.Path, certificate.AuditedRows));
        Assert.InRange(certificate.ErrorBound, 1e-9, 1e-2);
        Assert.True(head.Memory.Span().SequenceEqual(audited));
    }

    [Fact]
    public void Coarse_lists_pass_no_more_often_than_the_confidence_allows()
    {
        const int heads = 80;
        int wrong = 0, passed = 0, bad = 0;
        for (int seed = 0; seed < heads; seed++)
        {
            using Head head = new(new TokenField(TokenFieldKind.BandLimited, 1, 4), seed);
            double target = 2 * Math.Pow(40, seed / (double)heads);
            AuditOptions options = Few with { Seed = (ulong)(1000 * seed), Attempts = 1 };
            using var attention = new AuditedAttention(KernelSet.Best, 2e-2, options, Eager with { AuditedTarget = target });
            bool passes = attention.Attend(head.Input, head.Output).Path == AttentionPath.Audited;
            passed += passes ? 1 : 0;
            wrong += passes && head.ShareBeyond(2e-2) > options.ShareBeyond ? 1 : 0;

            // Judged by a single row, the same lists nearly always pass.
            using var careless = new AuditedAttention(KernelSet.Best, 2e-2, options with { Rows = 1 }, Eager with { AuditedTarget = target });
            careless.Attend(head.Input, head.Output);
            bad += head.ShareBeyond(2e-2) > options.ShareBeyond ? 1 : 0;
        }

        // With 90 % confidence at most 8 of 80 are to be expected; 16 or more have a probability below 0.01.
        Assert.InRange(wrong, 0, 15);
        Assert.InRange(passed, 10, heads - 10);
        Assert.InRange(bad, 16, heads);
    }

    [Fact]
    public void Bits_do_not_depend_on_threads()
    {
        using Head head = new(new TokenField(TokenFieldKind.BandLimited, 1, 4), 3);
        float[]? expected = null;
        foreach (int threads in (int[])[1, 3])
        {
            KernelSet kernels = KernelSet.Create(KernelSet.Best.Name, threads);
            using (var attention = new AuditedAttention(kernels, 2e-2, Few, Eager))
            {
                attention.Attend(head.Input, head.Output);
            }

            kernels.Pool.Dispose();
            expected ??= head.Memory.Span().ToArray();
            Assert.True(head.Memory.Span().SequenceEqual(expected));
        }
    }

    [Fact]
    public void Options_are_checked()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new AuditedAttention(KernelSet.Best, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new AuditedAttention(KernelSet.Best, 1e-2, new AuditOptions { Rows = 0 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new AuditedAttention(KernelSet.Best, 1e-2, new AuditOptions { Attempts = 0 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new AuditedAttention(KernelSet.Best, 1e-2, new AuditOptions { Confidence = 1 }));
        Assert.Equal(Math.Log(2 / 0.01) / 256, new AuditOptions().ShareBeyond, 12);
    }

    private sealed class Head : IDisposable
    {
        private readonly ScaleSchedule _maps;
        private readonly int _rows;
        private readonly FloatBuffer _queries, _keys, _values;

        public Head(TokenField field, int seed, int side = 16)
        {
            _maps = TokenFieldSampler.Schedule(side);
            _rows = side * side;
            (_queries, _keys, _values, Memory) = (new(_rows * Width), new((long)_maps.Tokens * Width), new((long)_maps.Tokens * Width), new(_rows * Width));
            TokenFieldSampler.Draw(
                field, _maps, Width, seed, _queries.Matrix(_rows, Width), _keys.Matrix(_maps.Tokens, Width), _values.Matrix(_maps.Tokens, Width));
        }

        public FloatBuffer Memory { get; }

        public HeadTensor Output => One(Memory, _rows);

        public AttentionInput Input => new(One(_queries, _rows), One(_keys, _maps.Tokens), One(_values, _maps.Tokens), 1, _maps);

        public double ShareBeyond(double tolerance)
        {
            using var exact = new FloatBuffer(Memory.Length);
            new ReferenceAttention().Attend(Input, One(exact, _rows));
            ReadOnlySpan<float> values = _values.Span();
            double range = 0;
            for (int c = 0; c < Width; c++)
            {
                float least = float.PositiveInfinity, most = float.NegativeInfinity;
                for (int t = c; t < values.Length; t += Width)
                {
                    (least, most) = (Math.Min(least, values[t]), Math.Max(most, values[t]));
                }

                range = Math.Max(range, (double)most - least);
            }

            int beyond = 0;
            for (int row = 0; row < _rows; row++)
            {
                bool bad = false;
                for (int c = 0; c < Width; c++)
                {
                    bad |= !(Math.Abs((double)exact.Span()[(row * Width) + c] - Memory.Span()[(row * Width) + c]) <= tolerance * range);
                }

                beyond += bad ? 1 : 0;
            }

            return beyond / (double)_rows;
        }

        public void Dispose()
        {
            _queries.Dispose();
            _keys.Dispose();
            _values.Dispose();
            Memory.Dispose();
        }

        private static HeadTensor One(FloatBuffer buffer, int rows) => HeadTensor.Interleaved(buffer.Matrix(rows, Width), 1, 1);
    }
}
