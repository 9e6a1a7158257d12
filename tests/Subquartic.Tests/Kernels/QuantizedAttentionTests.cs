using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Kernels;

/// <summary>Attention from 16-bit integers against the same integers in plain loops. How far both are from exact attention, CertifiedPropertyTests say.</summary>
public class QuantizedAttentionTests
{
    public static TheoryData<string, int, int, int, int> Shapes
    {
        get
        {
            (int L, int S, int C, int Cv)[] shapes =
            [
                (1, 1, 1, 1), (1, 1, 64, 64), (3, 7, 5, 3), (17, 64, 64, 64), (49, 65, 33, 17), (47, 63, 64, 65), (100, 129, 7, 9), (13, 191, 130, 96), (200, 513, 64, 8),
            ];
            var data = new TheoryData<string, int, int, int, int>();
            foreach (string set in KernelSet.Available.Where(name => name != "scalar"))
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
    public void Agrees_with_plain_loops_and_writes_nothing_else(string set, int queries, int keys, int width, int valueWidth)
    {
        foreach (float scale in (float[])[0.3f, -2])
        {
            Matrix q = GuardedMatrix.Random(new Random(1), queries, width), k = GuardedMatrix.Random(new Random(2), keys, width), v = GuardedMatrix.Random(new Random(3), keys, valueWidth);
            Matrix bias = GuardedMatrix.Random(new Random(4), keys, 1), more = GuardedMatrix.Random(new Random(5), keys, 16);
            Matrix means = GuardedMatrix.Create(queries, 16), rightMeans = GuardedMatrix.Create(queries, 16);
            (Matrix actual, Matrix statistics) = Attend(Sets.Get(set, 2), q, scale, k, v, bias, more, means);
            (Matrix expected, Matrix right) = Attend(Sets.Get("scalar", 1), q, scale, k, v, bias, more, rightMeans);
            GuardedMatrix.AssertIntact(means);
            GuardedMatrix.AssertIntact(actual);
            GuardedMatrix.AssertIntact(statistics);
            for (int i = 0; i < queries; i++)
            {
                // The kernels take powers of two within 8e-5, by which a few weights round to the other side; units depend on the order of a sum of squares.
                Assert.Equal(right.Row(i)[1], statistics.Row(i)[1], 1e-6 * right.Row(i)[1]);
                Assert.InRange(statistics.Row(i)[0], 0.99 * right.Row(i)[0], 1.01 * right.Row(i)[0]);
                double tolerance = 2e-4 + statistics.Row(i)[0];
                for (int c = 0; c < valueWidth; c++)
                {
                    Assert.Equal(expected.Row(i)[c], actual.Row(i)[c], tolerance);
                }

                for (int c = 0; c < means.Columns; c++)
                {
                    Assert.Equal(rightMeans.Row(i)[c], means.Row(i)[c], tolerance);
                }
            }
        }
    }

    [Theory]
    [InlineData("vector128")]
    [InlineData("vector256")]
    [InlineData("vector512")]
    [InlineData("scalar")]
    public void The_largest_sums_fit_in_their_integers(string set)
    {
        // Queries and keys along one another, at their longest and with their largest coordinates, and whole blocks of the largest weight times the largest value.
        foreach (int width in (int[])[1, 2, 64, 4096])
        {
            Matrix q = GuardedMatrix.Create(5, width), k = GuardedMatrix.Create(130, width), v = GuardedMatrix.Create(130, 2);
            for (int i = 0; i < k.Rows; i++)
            {
                k.Row(i).Fill(3);
                v.Row(i)[0] = i < 64 ? 1 : -1;
                v.Row(i)[1] = 1;
            }

            for (int i = 0; i < q.Rows; i++)
            {
                q.Row(i).Fill(i - 2);
            }

            (Matrix output, Matrix statistics) = Attend(Sets.Get(set, 1), q, 1f / width, k, v);
            for (int i = 0; i < q.Rows; i++)
            {
                Assert.Equal(-2.0 / 130, output.Row(i)[0], 1e-5); // all weights are equal
                Assert.Equal(1, output.Row(i)[1], 1e-5);
                Assert.InRange(statistics.Row(i)[0], 1.0 / (1 << 14), 1.0 / (1 << 12));
            }
        }
    }

    [Theory]
    [InlineData("vector256")]
    [InlineData("vector512")]
    public void Bits_depend_neither_on_threads_nor_on_other_rows(string set)
    {
        Matrix q = GuardedMatrix.Random(new Random(1), 300, 64), k = GuardedMatrix.Random(new Random(2), 1100, 64), v = GuardedMatrix.Random(new Random(3), 1100, 40);
        (Matrix all, _) = Attend(Sets.Get(set, 1), q, 1, k, v);
        (Matrix shared, _) = Attend(Sets.Get(set, 3), q, 1, k, v);
        GuardedMatrix.AssertSame(all, shared);
        (Matrix some, _) = Attend(Sets.Get(set, 2), q.SliceRows(77, 21), 1, k, v);
        GuardedMatrix.AssertSame(all.SliceRows(77, 21), some);
    }

    [Fact]
    public void Blocks_far_below_the_largest_weight_and_far_above_it_count_as_they_should()
    {
        // Scores of -50, 0 and 50 by block, in every order: all of the mass is with the largest, whenever it comes.
        int[][] orders = [[-50, 0, 50], [50, 0, -50], [0, 50, -50], [-50, 50, 0]];
        foreach (int[] order in orders)
        {
            Matrix q = GuardedMatrix.Create(2, 2), k = GuardedMatrix.Create(192, 2), v = GuardedMatrix.Create(192, 1);
            q.Row(0).Fill(1);
            q.Row(1).Clear();
            for (int i = 0; i < k.Rows; i++)
            {
                k.Row(i).Fill(order[i / 64] / 2f);
                v.Row(i)[0] = order[i / 64];
            }

            foreach (string set in KernelSet.Available)
            {
                (Matrix output, _) = Attend(Sets.Get(set, 1), q, 1, k, v);
                Assert.Equal(50, output.Row(0)[0], 1e-3);
                Assert.Equal(0, output.Row(1)[0], 1e-3);
            }
        }
    }

    [Fact]
    public void A_bias_is_a_factor_on_the_weight_and_means_in_float_are_those_of_exact_attention()
    {
        Matrix q = GuardedMatrix.Random(new Random(1), 20, 24), k = GuardedMatrix.Random(new Random(2), 170, 24), v = GuardedMatrix.Random(new Random(3), 170, 8), bias = GuardedMatrix.Create(170, 1);
        for (int i = 0; i < k.Rows; i++)
        {
            bias.Row(i)[0] = -70 + (i % 140); // far more than the scores, and every block has its own largest
        }

        foreach (string name in KernelSet.Available)
        {
            Matrix means = GuardedMatrix.Create(20, 8);
            (Matrix output, Matrix statistics) = Attend(Sets.Get(name, 1), q, 1, k, v, bias, v, means);
            for (int i = 0; i < q.Rows; i++)
            {
                double[] weights = [.. Enumerable.Range(0, k.Rows).Select(j => Math.Exp(Enumerable.Range(0, 24).Sum(c => (double)q.Row(i)[c] * k.Row(j)[c]) + bias.Row(j)[0]))];
                for (int c = 0; c < v.Columns; c++)
                {
                    double expected = Enumerable.Range(0, k.Rows).Sum(j => weights[j] * v.Row(j)[c]) / weights.Sum();
                    Assert.Equal(expected, output.Row(i)[c], 2e-3 + statistics.Row(i)[0]);
                    Assert.Equal(expected, means.Row(i)[c], 2e-3 + statistics.Row(i)[0]);
                }
            }
        }
    }

    [Fact]
    public void Values_out_of_range_are_taken_to_its_end()
    {
        Matrix q = GuardedMatrix.Random(new Random(1), 3, 8), k = GuardedMatrix.Create(5, 8), v = GuardedMatrix.Create(5, 2);
        for (int i = 0; i < k.Rows; i++)
        {
            k.Row(i).Fill(1);
            v.Row(i)[0] = 1e6f;
            v.Row(i)[1] = -1e30f;
        }

        foreach (string name in KernelSet.Available)
        {
            using var head = new QuantizedHead();
            KernelSet set = Sets.Get(name, 1);
            set.Quantize(k, new float[8], v, [1, -1], [0.5f, 1e-3f], head);
            Matrix output = GuardedMatrix.Create(3, 2);
            set.QuantizedAttention(q, 1, head, [], output, GuardedMatrix.Create(3, 2));
            Assert.Equal(1024, output.Row(1)[0], 1e-2);
            Assert.Equal(-3.046, output.Row(2)[1], 1e-4);
        }
    }

    [Fact]
    public void Shapes_that_do_not_fit_are_named()
    {
        KernelSet set = Sets.Get("vector256", 1);
        Matrix k = GuardedMatrix.Random(new Random(2), 9, 4), v = GuardedMatrix.Random(new Random(3), 9, 5), q = GuardedMatrix.Random(new Random(1), 3, 4);
        Matrix output = GuardedMatrix.Create(3, 5), statistics = GuardedMatrix.Create(3, 2);
        using var head = new QuantizedHead();
        Assert.Contains("no keys", Assert.Throws<ArgumentException>(() => set.QuantizedAttention(q, 1, head, [], output, statistics)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => set.Quantize(k, new float[3], v, new float[5], new float[5], head));
        Assert.Throws<ArgumentException>(() => set.Quantize(k, new float[4], v, new float[5], new float[4], head));
        Assert.Throws<ArgumentException>(() => set.Quantize(k, new float[4], v.SliceRows(0, 8), new float[5], new float[5], head));
        Assert.Throws<ArgumentException>(() => set.Quantize(k, new float[4], v, new float[5], new float[5], head, v));
        set.Quantize(k, new float[4], v, new float[5], new float[5], head);
        Assert.Throws<ArgumentException>(() => set.QuantizedAttention(q, 1, head, [], output, statistics, v, output));
        Assert.Throws<ArgumentException>(() => set.QuantizedAttention(v, 1, head, [], output, statistics));
        Assert.Throws<ArgumentException>(() => set.QuantizedAttention(q, 1, head, [], statistics, statistics));
        Assert.Throws<ArgumentException>(() => set.QuantizedAttention(q, 1, head, [], output, output));
        Assert.Contains("no query 3", Assert.Throws<ArgumentException>(() => set.QuantizedAttention(q, 1, head, [0, 3], output, statistics.SliceRows(0, 2))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Rows_can_be_picked()
    {
        Matrix q = GuardedMatrix.Random(new Random(1), 90, 20), k = GuardedMatrix.Random(new Random(2), 150, 20), v = GuardedMatrix.Random(new Random(3), 150, 12);
        foreach (string name in KernelSet.Available)
        {
            KernelSet set = Sets.Get(name, 2);
            (Matrix all, Matrix statistics) = Attend(set, q, 1, k, v);
            using var head = new QuantizedHead();
            set.Quantize(k, new float[20], v, new float[12], Enumerable.Repeat(1f / 2000, 12).ToArray(), head);
            set.QuantizedAttention(q, 1, head, [], all, statistics);
            int[] rows = [.. Enumerable.Range(0, 30).Select(i => (i * 37) % 90)];
            Matrix some = GuardedMatrix.Create(90, 12), found = GuardedMatrix.Create(30, 2);
            set.QuantizedAttention(q, 1, head, rows, some, found);
            for (int i = 0; i < 90; i++)
            {
                int at = Array.IndexOf(rows, i);
                Assert.True(at < 0 ? some.Row(i).IndexOfAnyExcept(float.NaN) < 0 : some.Row(i).SequenceEqual(all.Row(i)) && found.Row(at).SequenceEqual(statistics.Row(i)));
            }
        }
    }

    private static (Matrix Output, Matrix Statistics) Attend(
        KernelSet set, Matrix q, float scale, Matrix k, Matrix v, Matrix bias = default, Matrix more = default, Matrix means = default)
    {
        var middle = new float[v.Columns];
        var unit = new float[v.Columns];
        for (int c = 0; c < v.Columns; c++)
        {
            float least = float.PositiveInfinity, most = float.NegativeInfinity;
            for (int i = 0; i < v.Rows; i++)
            {
                (least, most) = (Math.Min(least, v.Row(i)[c]), Math.Max(most, v.Row(i)[c]));
            }

            // Asymmetric where all values are alike, to reach the largest integer.
            middle[c] = least == most ? 0 : (least + most) / 2;
            unit[c] = (most - middle[c]) / (QuantizedHead.LargestValue - 1) * 1.000001f;
        }

        using var head = new QuantizedHead();
        set.Quantize(k, new float[k.Columns], v, middle, unit, head, bias);
        Matrix output = GuardedMatrix.Create(q.Rows, v.Columns), statistics = GuardedMatrix.Create(q.Rows, 2);
        set.QuantizedAttention(q, scale, head, [], output, statistics, more, means);
        return (output, statistics);
    }
}
