using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Kernels;

/// <summary>The attention kernels against the scalar judge (double accumulation).</summary>
public class AttentionTests
{
    private static readonly KernelSet Judge = KernelSet.Create("scalar", threads: 1);

    public static TheoryData<string> Sets => new(KernelSet.Available.Where(name => name != "scalar"));

    /// <summary>Every set, and (queries, keys, key width, value width): tile and block edges, odd widths, single rows, and the
    /// decoder's one wide head.</summary>
    public static TheoryData<string, int, int, int, int> Shapes
    {
        get
        {
            (int L, int S, int C, int Cv)[] shapes =
            [
                (1, 1, 64, 64), (1, 1, 1, 1), (4, 5, 64, 64), (9, 14, 8, 8), (16, 30, 32, 32), (36, 91, 48, 48), (3, 7, 5, 3),
                (13, 127, 33, 17), (64, 128, 64, 64), (47, 129, 64, 63), (49, 136, 7, 65), (100, 255, 64, 64), (97, 257, 16, 9),
                (200, 513, 64, 8), (33, 40, 640, 640), (17, 131, 129, 130), (1, 700, 64, 64), (300, 1, 64, 64),
            ];
            var data = new TheoryData<string, int, int, int, int>();
            foreach (string set in Sets)
            {
                foreach ((int l, int s, int c, int cv) in shapes)
                {
                    data.Add(set, l, s, c, cv);
                }
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Agrees_with_the_judge_within_the_rounding_bound_and_writes_nothing_else(string set, int queries, int keys, int width, int valueWidth)
    {
        using var kernels = new Kernels(set, threads: 2);
        foreach (Layout layout in Enum.GetValues<Layout>())
        {
            HeadTensor q = Random(layout, 2, 3, queries, width, seed: 1);
            HeadTensor k = Random(layout, 2, 3, keys, width, seed: 2);
            HeadTensor v = Random(layout, 2, 3, keys, valueWidth, seed: 3);
            HeadTensor actual = Empty(layout, 2, 3, queries, valueWidth);
            HeadTensor expected = Empty(layout, 2, 3, queries, valueWidth);
            float scale = 1.5f / MathF.Sqrt(width);

            kernels.Set.Attention(q, k, v, scale, actual);
            Judge.Attention(q, k, v, scale, expected);

            Assert.InRange(MaxError(actual, expected), 0, ExactAttention.RoundingBound(new AttentionInput(q, k, v, scale)));
            AssertGapsAreUntouched(actual);
        }
    }

    [Theory]
    [InlineData("vector128", 36, 91, 48, 48)]
    [InlineData("vector256", 3, 700, 5, 3)]
    [InlineData("vector512", 100, 257, 16, 9)]
    [InlineData("scalar", 9, 14, 8, 8)]
    public void The_statistics_give_the_sum_of_the_weights_and_change_no_output(string set, int queries, int keys, int width, int valueWidth)
    {
        using var kernels = new Kernels(set, threads: 2);
        HeadTensor q = Random(Layout.Cache, 2, 3, queries, width, seed: 1);
        HeadTensor k = Random(Layout.Cache, 2, 3, keys, width, seed: 2);
        HeadTensor v = Random(Layout.Cache, 2, 3, keys, valueWidth, seed: 3);
        HeadTensor plain = Empty(Layout.Cache, 2, 3, queries, valueWidth), output = Empty(Layout.Cache, 2, 3, queries, valueWidth);
        HeadTensor statistics = Empty(Layout.Cache, 2, 3, queries, 2), expected = Empty(Layout.Cache, 2, 3, queries, 2);
        float scale = 1.5f / MathF.Sqrt(width);
        kernels.Set.Attention(q, k, v, scale, plain);
        kernels.Set.Attention(q, k, v, scale, output, statistics);
        Judge.Attention(q, k, v, scale, output, expected);
        kernels.Set.Attention(q, k, v, scale, output, statistics);
        Assert.Equal(0, MaxError(output, plain));
        for (int i = 0; i < 6 * queries; i++)
        {
            ReadOnlySpan<float> actual = statistics[i / queries / 3, i / queries % 3].Row(i % queries);
            ReadOnlySpan<float> right = expected[i / queries / 3, i / queries % 3].Row(i % queries);
            Assert.Equal(right[0] + Math.Log2(right[1]), actual[0] + Math.Log2(actual[1]), 2e-5);
        }

        Assert.Throws<ArgumentException>(() => kernels.Set.Attention(q, k, v, scale, output, plain.Width == 2 ? k : plain));
    }

    /// <summary>The rule of golden tests: twice the error of the simplest float32 code that computes the same thing.</summary>
    [Theory]
    [MemberData(nameof(Sets))]
    public void Error_is_at_most_twice_that_of_a_plain_float32_loop(string set)
    {
        using var kernels = new Kernels(set, threads: 2);
        foreach (float scale in (float[])[0.125f, 1])
        {
            HeadTensor q = Random(Layout.Cache, 1, 2, 64, 64, seed: 4);
            HeadTensor k = Random(Layout.Cache, 1, 2, 680, 64, seed: 5);
            HeadTensor v = Random(Layout.Cache, 1, 2, 680, 64, seed: 6);
            HeadTensor actual = Empty(Layout.Cache, 1, 2, 64, 64);
            HeadTensor plain = Empty(Layout.Cache, 1, 2, 64, 64);
            HeadTensor expected = Empty(Layout.Cache, 1, 2, 64, 64);

            kernels.Set.Attention(q, k, v, scale, actual);
            PlainLoop(q, k, v, scale, plain);
            Judge.Attention(q, k, v, scale, expected);

            Assert.InRange(MaxError(actual, expected), 0, 2 * MaxError(plain, expected));
        }
    }

    /// <summary>Unit vectors at scale 16 and values of one sign: a single running sum over so many keys loses digits, which
    /// sums by block keep. A quarter of the plain loop's error separates the two.</summary>
    [Theory]
    [MemberData(nameof(Sets))]
    public void Sums_by_block_keep_their_digits_over_ten_thousand_keys(string set)
    {
        using var kernels = new Kernels(set, threads: 2);
        HeadTensor q = Random(Layout.Cache, 1, 1, 20, 64, seed: 7);
        HeadTensor k = Random(Layout.Cache, 1, 1, 10_880, 64, seed: 8);
        HeadTensor v = Random(Layout.Cache, 1, 1, 10_880, 16, seed: 9);
        Judge.NormalizeHeads(q, [], q);
        Judge.NormalizeHeads(k, [], k);
        ForEach(v, value => Math.Abs(value));
        HeadTensor actual = Empty(Layout.Cache, 1, 1, 20, 16);
        HeadTensor plain = Empty(Layout.Cache, 1, 1, 20, 16);
        HeadTensor expected = Empty(Layout.Cache, 1, 1, 20, 16);

        kernels.Set.Attention(q, k, v, 16, actual);
        PlainLoop(q, k, v, 16, plain);
        Judge.Attention(q, k, v, 16, expected);

        Assert.InRange(MaxError(actual, expected), 0, MaxError(plain, expected) / 4);
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void Bits_depend_on_neither_threads_nor_batch_nor_position_nor_neighbours(string set)
    {
        const int rows = 150;
        using var one = new Kernels(set, threads: 1);
        using var three = new Kernels(set, threads: 3);
        HeadTensor q = Random(Layout.Interleaved, 3, 2, rows, 24, seed: 10);
        HeadTensor k = Random(Layout.Cache, 3, 2, 300, 24, seed: 11);
        HeadTensor v = Random(Layout.Cache, 3, 2, 300, 20, seed: 12);
        HeadTensor whole = Empty(Layout.Interleaved, 3, 2, rows, 20);
        HeadTensor threaded = Empty(Layout.Cache, 3, 2, rows, 20);
        one.Set.Attention(q, k, v, 0.7f, whole);
        three.Set.Attention(q, k, v, 0.7f, threaded);
        AssertSameBits(whole, threaded);

        for (int image = 0; image < 3; image++)
        {
            HeadTensor alone = Empty(Layout.Cache, 1, 2, rows, 20);
            three.Set.Attention(Image(q, image), Image(k, image), Image(v, image), 0.7f, alone);
            AssertSameBits(Image(whole, image), alone);
        }

        foreach ((int start, int count) in ((int, int)[])[(0, 1), (149, 1), (17, 5), (1, 149), (30, 70)])
        {
            HeadTensor part = Empty(Layout.Cache, 3, 2, count, 20);
            three.Set.Attention(q.SliceRows(start, count), k, v, 0.7f, part);
            AssertSameBits(whole.SliceRows(start, count), part);
        }
    }

    /// <summary>A cache grown in place gives the bits of a copy: rows of another stride and more keys behind change nothing.</summary>
    [Theory]
    [MemberData(nameof(Sets))]
    public void Bits_do_not_depend_on_how_keys_and_values_lie_in_memory(string set)
    {
        using var kernels = new Kernels(set, threads: 2);
        HeadTensor q = Random(Layout.Cache, 1, 2, 20, 64, seed: 13);
        HeadTensor[] outputs = new HeadTensor[3];
        foreach (Layout layout in Enum.GetValues<Layout>())
        {
            HeadTensor k = Random(layout, 1, 2, 200, 64, seed: 14);
            HeadTensor v = Random(layout, 1, 2, 200, 64, seed: 15);
            outputs[(int)layout] = Empty(Layout.Cache, 1, 2, 20, 64);
            kernels.Set.Attention(q, k.SliceRows(0, 131), v.SliceRows(0, 131), 1, outputs[(int)layout]);
        }

        AssertSameBits(outputs[0], outputs[1]);
        AssertSameBits(outputs[0], outputs[2]);
    }

    /// <summary>Scores up to 10 000: all weight on one key, and exp of the rest is 0, whichever block holds the largest.</summary>
    [Theory]
    [MemberData(nameof(Sets))]
    public void A_dominating_key_gives_its_value_exactly(string set)
    {
        using var kernels = new Kernels(set, threads: 2);
        HeadTensor k = Random(Layout.Cache, 1, 1, 400, 10, seed: 16);
        HeadTensor v = Random(Layout.Cache, 1, 1, 400, 12, seed: 17);
        foreach (int winner in (int[])[0, 127, 128, 399])
        {
            HeadTensor q = Empty(Layout.Cache, 1, 1, 5, 10);
            HeadTensor output = Empty(Layout.Cache, 1, 1, 5, 12);
            for (int i = 0; i < 5; i++)
            {
                Span<float> query = q[0, 0].Row(i);
                query.Clear();
                query[0] = 1;
            }

            for (int j = 0; j < 400; j++)
            {
                k[0, 0].Row(j)[0] = j == winner ? 10_000 : -10_000 + j;
            }

            kernels.Set.Attention(q, k, v, 1, output);
            for (int i = 0; i < 5; i++)
            {
                Assert.Equal(v[0, 0].Row(winner).ToArray(), output[0, 0].Row(i).ToArray());
            }
        }
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void A_single_key_gives_its_value_and_equal_keys_the_mean(string set)
    {
        using var kernels = new Kernels(set, threads: 2);
        HeadTensor q = Random(Layout.Cache, 1, 1, 40, 64, seed: 18);
        HeadTensor k = Random(Layout.Cache, 1, 1, 1, 64, seed: 19);
        HeadTensor v = Random(Layout.Cache, 1, 1, 1, 64, seed: 20);
        HeadTensor output = Empty(Layout.Cache, 1, 1, 40, 64);
        kernels.Set.Attention(q, k, v, 1000, output);
        for (int i = 0; i < 40; i++)
        {
            Assert.Equal(v[0, 0].Row(0).ToArray(), output[0, 0].Row(i).ToArray());
        }

        // 256 equal weights of 1 on integers: every sum and the division are exact.
        HeadTensor same = Empty(Layout.Cache, 1, 1, 256, 64);
        HeadTensor integers = Empty(Layout.Cache, 1, 1, 256, 64);
        for (int j = 0; j < 256; j++)
        {
            k[0, 0].Row(0).CopyTo(same[0, 0].Row(j));
            integers[0, 0].Row(j).Fill(j);
        }

        kernels.Set.Attention(q, same, integers, 1, output);
        for (int i = 0; i < 40; i++)
        {
            Assert.All(output[0, 0].Row(i).ToArray(), value => Assert.Equal(127.5f, value));
        }
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void A_NaN_reaches_exactly_the_outputs_that_see_it(string set)
    {
        using var kernels = new Kernels(set, threads: 2);
        HeadTensor q = Random(Layout.Cache, 1, 1, 50, 16, seed: 21);
        HeadTensor k = Random(Layout.Cache, 1, 1, 300, 16, seed: 22);
        HeadTensor v = Random(Layout.Cache, 1, 1, 300, 16, seed: 23);
        HeadTensor output = Empty(Layout.Cache, 1, 1, 50, 16);

        q[0, 0].Row(33)[3] = float.NaN;
        v[0, 0].Row(140)[5] = float.NaN;
        kernels.Set.Attention(q, k, v, 1, output);
        for (int i = 0; i < 50; i++)
        {
            for (int c = 0; c < 16; c++)
            {
                Assert.Equal(i == 33 || c == 5, float.IsNaN(output[0, 0].Row(i)[c]));
            }
        }

        foreach (int key in (int[])[0, 130, 299])
        {
            using var poisoned = FloatBuffer.Of(k.Buffer.Span());
            poisoned.Span()[(int)k.Offset + key * k.RowStride] = float.NaN;
            var keys = new HeadTensor(poisoned, k.Offset, 1, 1, 300, 16, k.BatchStride, k.HeadStride, k.RowStride);
            kernels.Set.Attention(q, keys, v, 1, output);
            for (int i = 0; i < 50; i++)
            {
                Assert.All(output[0, 0].Row(i).ToArray(), value => Assert.True(float.IsNaN(value)));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Sets))]
    public void The_steady_state_allocates_nothing(string set)
    {
        using var kernels = new Kernels(set, threads: 1);
        HeadTensor q = Random(Layout.Interleaved, 1, 2, 20, 30, seed: 24);
        HeadTensor k = Random(Layout.Interleaved, 1, 2, 50, 30, seed: 25);
        HeadTensor output = Empty(Layout.Interleaved, 1, 2, 20, 30);
        kernels.Set.Attention(q, k, k, 1, output);
        long before = GC.GetAllocatedBytesForCurrentThread();
        kernels.Set.Attention(q, k, k, 1, output);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void Operands_that_do_not_fit_are_refused_by_every_set()
    {
        HeadTensor q = Random(Layout.Cache, 1, 2, 3, 8, seed: 26);
        HeadTensor k = Random(Layout.Cache, 1, 2, 5, 8, seed: 27);
        foreach (string set in KernelSet.Available)
        {
            using var kernels = new Kernels(set, threads: 1);
            void Refused(HeadTensor keys, HeadTensor values, HeadTensor output) =>
                Assert.Throws<ArgumentException>(() => kernels.Set.Attention(q, keys, values, 1, output));

            Refused(k.SliceRows(0, 0), k.SliceRows(0, 0), Empty(Layout.Cache, 1, 2, 3, 8));
            Refused(k, k.SliceRows(0, 4), Empty(Layout.Cache, 1, 2, 3, 8));
            Refused(Random(Layout.Cache, 1, 2, 5, 9, seed: 28), k, Empty(Layout.Cache, 1, 2, 3, 8));
            Refused(Random(Layout.Cache, 1, 1, 5, 8, seed: 29), k, Empty(Layout.Cache, 1, 2, 3, 8));
            Refused(k, k, Empty(Layout.Cache, 1, 2, 4, 8));
            Refused(k, k, Empty(Layout.Cache, 1, 2, 3, 7));
        }
    }

    /// <summary>How the rows of a head lie in memory.</summary>
    private enum Layout
    {
        /// <summary>Contiguous, heads after each other.</summary>
        Cache,

        /// <summary>Heads in the columns of a matrix three times as wide, as a joint projection writes q, k and v.</summary>
        Interleaved,

        /// <summary>Gaps of one value behind rows, so that nothing is aligned.</summary>
        Odd,
    }

    private static HeadTensor Empty(Layout layout, int batch, int heads, int rows, int width)
    {
        int rowStride = layout switch { Layout.Cache => width, Layout.Interleaved => 3 * heads * width, _ => width + 1 };
        long headStride = layout == Layout.Interleaved ? width : (long)rows * rowStride;
        long batchStride = layout == Layout.Interleaved ? (long)rows * rowStride : heads * headStride;
        const int margin = 70;
        var buffer = new FloatBuffer(batch * batchStride + 2 * margin);
        // NaN outside the view: a value read from there spoils the output, one written there is found.
        buffer.Span().Fill(float.NaN);
        return new HeadTensor(buffer, margin, batch, heads, rows, width, batchStride, headStride, rowStride);
    }

    private static HeadTensor Random(Layout layout, int batch, int heads, int rows, int width, int seed)
    {
        HeadTensor x = Empty(layout, batch, heads, rows, width);
        var random = new Random(seed);
        ForEach(x, _ => (float)(random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5));
        return x;
    }

    private static HeadTensor Image(HeadTensor x, int image) =>
        new(x.Buffer, x.Offset + image * x.BatchStride, 1, x.Heads, x.Rows, x.Width, x.BatchStride, x.HeadStride, x.RowStride);

    private static void ForEach(HeadTensor x, Func<float, float> map)
    {
        for (int row = 0; row < x.Batch * x.Heads * x.Rows; row++)
        {
            foreach (ref float value in Row(x, row))
            {
                value = map(value);
            }
        }
    }

    private static Span<float> Row(HeadTensor x, int row) =>
        x[row / x.Rows / x.Heads, row / x.Rows % x.Heads].Row(row % x.Rows);

    private static double MaxError(HeadTensor actual, HeadTensor expected)
    {
        double worst = 0;
        for (int row = 0; row < actual.Batch * actual.Heads * actual.Rows; row++)
        {
            Span<float> a = Row(actual, row);
            Span<float> e = Row(expected, row);
            for (int c = 0; c < a.Length; c++)
            {
                double error = Math.Abs((double)a[c] - e[c]);
                worst = double.IsNaN(error) ? double.PositiveInfinity : Math.Max(worst, error);
            }
        }

        return worst;
    }

    private static void AssertSameBits(HeadTensor x, HeadTensor y)
    {
        for (int row = 0; row < x.Batch * x.Heads * x.Rows; row++)
        {
            Assert.Equal(Row(x, row).ToArray().Select(BitConverter.SingleToInt32Bits), Row(y, row).ToArray().Select(BitConverter.SingleToInt32Bits));
        }
    }

    private static void AssertGapsAreUntouched(HeadTensor x)
    {
        using var copy = FloatBuffer.Of(x.Buffer.Span());
        ForEach(new HeadTensor(copy, x.Offset, x.Batch, x.Heads, x.Rows, x.Width, x.BatchStride, x.HeadStride, x.RowStride), _ => float.NaN);
        Assert.All(copy.Span().ToArray(), value => Assert.True(float.IsNaN(value)));
    }

    /// <summary>What anybody would write first, in float32 throughout.</summary>
    private static void PlainLoop(HeadTensor queries, HeadTensor keys, HeadTensor values, float scale, HeadTensor output)
    {
        float[] weights = new float[keys.Rows];
        for (int row = 0; row < queries.Batch * queries.Heads * queries.Rows; row++)
        {
            int image = row / queries.Rows / queries.Heads;
            int head = row / queries.Rows % queries.Heads;
            Matrix k = keys[image, head];
            Matrix v = values[image, head];
            Span<float> query = Row(queries, row);
            float max = float.NegativeInfinity;
            for (int j = 0; j < weights.Length; j++)
            {
                float score = 0;
                for (int c = 0; c < query.Length; c++)
                {
                    score += query[c] * k.Row(j)[c];
                }

                weights[j] = score * scale;
                max = Math.Max(max, weights[j]);
            }

            float sum = 0;
            Span<float> result = Row(output, row);
            result.Clear();
            for (int j = 0; j < weights.Length; j++)
            {
                float weight = MathF.Exp(weights[j] - max);
                sum += weight;
                for (int c = 0; c < result.Length; c++)
                {
                    result[c] += weight * v.Row(j)[c];
                }
            }

            for (int c = 0; c < result.Length; c++)
            {
                result[c] /= sum;
            }
        }
    }

    /// <summary>A kernel set whose threads end with the test.</summary>
    private sealed class Kernels(string name, int threads) : IDisposable
    {
        public KernelSet Set { get; } = KernelSet.Create(name, threads);

        public void Dispose() => Set.Pool.Dispose();
    }
}
