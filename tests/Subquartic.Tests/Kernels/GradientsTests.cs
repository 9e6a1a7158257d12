using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Kernels;

/// <summary>Gradients of what stands between the products, against the judge; that the judge is right is shown by the central differences of
/// Training/Operations, which run on it too.</summary>
public class GradientsTests
{
    private const double Unit = 1.0 / (1 << 24);

    private static readonly KernelSet Judge = KernelSet.Create("scalar", 1);

    public static TheoryData<string> Names => [.. KernelSet.Available];

    [Theory]
    [MemberData(nameof(Names))]
    public void Activations_match_the_judge_at_every_length(string name)
    {
        KernelSet set = KernelSet.Create(name, 2);
        var random = new Random(1);
        foreach (int length in (int[])[.. Enumerable.Range(0, 40), 257, 50_001])
        {
            Matrix x = GuardedMatrix.Random(random, 1, length), dy = GuardedMatrix.Random(random, 1, length), before = GuardedMatrix.Random(random, 1, length);
            foreach (ref float value in x.Row(0))
            {
                value *= 20;
            }

            foreach (bool gelu in (bool[])[false, true])
            {
                foreach (bool add in (bool[])[false, true])
                {
                    Matrix actual = GuardedMatrix.Copy(before), expected = GuardedMatrix.Copy(before);
                    Run(set, gelu, x, dy, actual, add);
                    Run(Judge, gelu, x, dy, expected, add);
                    for (int i = 0; i < length; i++)
                    {
                        // The slope is s (1 + (1 - s) x v') with s the logistic function of v. An argument wrong by 4 units changes s by 4 |v| s (1 - s) units,
                        // and 1 - s is wrong by a unit beside 1; with |x v'| at most 3 |v|, no term comes to more than 50 units of dy.
                        double allowed = Unit * (64 * Math.Abs(dy.Row(0)[i]) + 2 * Math.Abs(expected.Row(0)[i]) + 2 * Math.Abs(before.Row(0)[i])) + float.Epsilon;
                        Assert.InRange(Math.Abs((double)actual.Row(0)[i] - expected.Row(0)[i]), 0, allowed);
                    }

                    GuardedMatrix.AssertIntact(actual);
                }
            }
        }

        static void Run(KernelSet kernels, bool gelu, Matrix x, Matrix dy, Matrix dx, bool add)
        {
            if (gelu)
            {
                kernels.GeluGradient(x.Row(0), dy.Row(0), dx.Row(0), add);
            }
            else
            {
                kernels.SiluGradient(x.Row(0), dy.Row(0), dx.Row(0), add);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Gelu_matches_the_judge(string name)
    {
        Matrix x = GuardedMatrix.Random(new Random(2), 1, 999), y = GuardedMatrix.Create(1, 999), expected = GuardedMatrix.Create(1, 999);
        foreach (ref float value in x.Row(0))
        {
            value *= 6;
        }

        KernelSet.Create(name, 2).Gelu(x.Row(0), y.Row(0));
        Judge.Gelu(x.Row(0), expected.Row(0));
        for (int i = 0; i < 999; i++)
        {
            // 4 units of (1 + 2 |u|), |u| below 12.5 for |x| below 6, and the judge's own rounding.
            Assert.InRange(Math.Abs((double)y.Row(0)[i] - expected.Row(0)[i]), 0, 105 * Unit * Math.Abs(expected.Row(0)[i]));
        }

        GuardedMatrix.AssertIntact(y);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Sums_of_rows_match_the_judge(string name)
    {
        var random = new Random(3);
        foreach ((int rows, int columns) in ((int, int)[])[(0, 3), (1, 1), (65, 33), (1024, 16), (2500, 37)])
        {
            Matrix x = GuardedMatrix.Random(random, rows, columns), before = GuardedMatrix.Random(random, 1, columns);
            Matrix actual = GuardedMatrix.Copy(before), other = GuardedMatrix.Copy(before), expected = GuardedMatrix.Copy(before);
            KernelSet.Create(name, 1).AddRows(x, actual.Row(0));
            KernelSet.Create(name, 3).AddRows(x, other.Row(0));
            Judge.AddRows(x, expected.Row(0));
            GuardedMatrix.AssertSame(actual, other);
            GuardedMatrix.AssertIntact(actual);
            for (int j = 0; j < columns; j++)
            {
                // 64 rows, 16 such sums, the tasks: every value passes as many additions at most; all values are below 1.
                Assert.InRange(Math.Abs((double)actual.Row(0)[j] - expected.Row(0)[j]), 0, (64 + 16 + 4) * Unit * (rows + 1));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Layer_normalisation_matches_the_judge(string name)
    {
        var random = new Random(4);
        foreach (int columns in (int[])[2, 3, 16, 17, 33, 64, 100, 192])
        {
            const int images = 3, rows = 5;
            Matrix x = GuardedMatrix.Random(random, images * rows, columns), dy = GuardedMatrix.Random(random, images * rows, columns);
            Matrix scale = GuardedMatrix.Random(random, images, columns);
            Matrix before = GuardedMatrix.Random(random, images * rows, columns), sums = GuardedMatrix.Random(random, images, columns);
            foreach (bool add in (bool[])[false, true])
            {
                (Matrix dx, Matrix dScale, Matrix dShift) = Run(KernelSet.Create(name, 1));
                (Matrix otherDx, Matrix otherScale, Matrix otherShift) = Run(KernelSet.Create(name, 3));
                (Matrix expected, Matrix expectedScale, Matrix expectedShift) = Run(Judge);
                GuardedMatrix.AssertSame(dx, otherDx);
                GuardedMatrix.AssertSame(dScale, otherScale);
                GuardedMatrix.AssertSame(dShift, otherShift);

                // A row of values below 1 has a deviation of about 1/2, hardly ever below 1/20 with 3 values or more, and the epsilon keeps it above
                // 1/10 with 2; normalised values are below sqrt(columns), and their sums of `columns` terms err by as many units.
                double deviation = 0.05;
                Compare(dx, expected, 16 * (columns + 8) * Unit * Math.Sqrt(columns) / deviation / deviation);
                Compare(dScale, expectedScale, 16 * (columns + 8) * Unit * Math.Sqrt(columns) * rows / deviation);
                Compare(dShift, expectedShift, 2 * (rows + 1) * rows * Unit);

                (Matrix, Matrix, Matrix) Run(KernelSet kernels)
                {
                    Matrix result = GuardedMatrix.Copy(before), scales = GuardedMatrix.Copy(sums), shifts = GuardedMatrix.Copy(sums);
                    kernels.LayerNormGradient(x, scale, rows, 1e-2f, dy, result, add, scales, shifts);
                    GuardedMatrix.AssertIntact(result);
                    GuardedMatrix.AssertIntact(scales);
                    Matrix alone = GuardedMatrix.Copy(before.SliceRows(rows, rows));
                    kernels.LayerNormGradient(x.SliceRows(rows, rows), scale.SliceRows(1, 1), rows, 1e-2f, dy.SliceRows(rows, rows), alone, add, default, default);
                    GuardedMatrix.AssertSame(result.SliceRows(rows, rows), alone);
                    return (result, scales, shifts);
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Head_normalisation_matches_the_judge(string name)
    {
        KernelSet set = KernelSet.Create(name, 2);
        var random = new Random(5);
        float[] factors = [2.5f, 0.1f, -1];
        foreach (int width in (int[])[1, 3, 8, 17, 32])
        {
            Matrix x = GuardedMatrix.Random(random, 2 * 9, 3 * width), upper = GuardedMatrix.Random(random, 2 * 9, 3 * width);
            foreach (float[] perHead in (float[][])[factors, []])
            {
                (Matrix dx, Matrix along) = Run(set);
                (Matrix expected, Matrix expectedAlong) = Run(Judge);
                for (int i = 0; i < x.Rows; i++)
                {
                    for (int h = 0; h < 3; h++)
                    {
                        Span<float> row = x.Row(i).Slice(h * width, width);
                        double length = Math.Sqrt(row.ToArray().Sum(v => (double)v * v));

                        // n and dy are below 1 in every entry: sums of `width` terms err by width + 3 units of their size, at most the width.
                        double unit = (width + 12) * Unit * width;
                        Assert.InRange(Math.Abs((double)along.Row(i)[h] - expectedAlong.Row(i)[h]), 0, unit);
                        for (int c = h * width; c < (h + 1) * width; c++)
                        {
                            double factor = perHead.Length == 0 ? 1 : Math.Abs(perHead[h]);
                            Assert.InRange(Math.Abs((double)dx.Row(i)[c] - expected.Row(i)[c]), 0, 4 * unit * factor / length);
                        }
                    }
                }

                (Matrix, Matrix) Run(KernelSet kernels)
                {
                    Matrix y = GuardedMatrix.Create(18, 3 * width), lengths = GuardedMatrix.Create(18, 3), inner = GuardedMatrix.Create(18, 3);
                    Matrix gradient = GuardedMatrix.Copy(upper);
                    kernels.NormalizeHeads(Heads(x), perHead, Heads(y), Heads(lengths));
                    kernels.NormalizeHeadsGradient(Heads(y), perHead, Heads(lengths), Heads(gradient), Heads(inner));
                    GuardedMatrix.AssertIntact(gradient);
                    GuardedMatrix.AssertIntact(inner);
                    GuardedMatrix.AssertIntact(lengths);
                    return (gradient, inner);
                }
            }
        }

        static HeadTensor Heads(Matrix x) => HeadTensor.Interleaved(x, 2, 3);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Group_normalisation_matches_the_judge(string name)
    {
        const int batch = 3;
        foreach ((int height, int width, int channels, int groups) in ((int, int, int, int)[])[(5, 7, 3, 3), (4, 3, 8, 2), (9, 14, 33, 11), (16, 16, 64, 32)])
        {
            foreach (bool silu in (bool[])[false, true])
            {
                foreach (bool add in (bool[])[false, true])
                {
                    using var problem = new GroupProblem(batch, height, width, channels, groups, silu, add);
                    (float[] dx, float[] dWeight, float[] dBias) = problem.Run(KernelSet.Create(name, 1), 0, batch);
                    (float[] otherDx, float[] otherWeight, float[] otherBias) = problem.Run(KernelSet.Create(name, 3), 0, batch);
                    (float[] expected, float[] expectedWeight, float[] expectedBias) = problem.Run(Judge, 0, batch);
                    Assert.Equal(dx, otherDx);
                    Assert.Equal(dWeight, otherWeight);
                    Assert.Equal(dBias, otherBias);
                    Assert.Equal(dx[(dx.Length / batch)..(2 * dx.Length / batch)], problem.Run(KernelSet.Create(name, 2), 1, 1).Dx);

                    // Slopes err by 64 units, normalised values (below 4) by 8, sums over pixels by one unit for every addition: 64 in a row, then their blocks.
                    int pixels = batch * height * width;
                    double sum = (64 + 64 + pixels / 64 + 16) * Unit * pixels * 4;
                    Compare(dWeight, expectedWeight, sum);
                    Compare(dBias, expectedBias, sum);
                    Compare(dx, expected, (64 + 64 + pixels / 64 + 16) * Unit * 4 * 4 * problem.LargestInverse);
                }
            }
        }
    }

    [Theory]
    [InlineData("scalar")]
    [InlineData("vector256")]
    public void Operands_that_do_not_fit_are_refused(string name)
    {
        KernelSet kernels = KernelSet.Create(name, 1);
        using var buffer = new FloatBuffer(100);
        Matrix four = buffer.Matrix(4, 6), two = buffer.Matrix(2, 6);
        HeadTensor heads = HeadTensor.Interleaved(four, 2, 3);
        FeatureMap map = buffer.FeatureMap(2, 2, 2, 6);
        Assert.Throws<ArgumentException>(() => kernels.SiluGradient(new float[3], new float[4], new float[3], false));
        Assert.Throws<ArgumentException>(() => kernels.GeluGradient(new float[3], new float[3], new float[2], false));
        Assert.Throws<ArgumentException>(() => kernels.AddRows(four, new float[5]));
        Assert.Throws<ArgumentException>(() => kernels.LayerNormGradient(four, two, 3, 1e-6f, four, four, false, two, two));
        Assert.Throws<ArgumentException>(() => kernels.LayerNormGradient(four, two, 2, 1e-6f, four, four, false, two, default));
        Assert.Throws<ArgumentException>(() => kernels.NormalizeHeadsGradient(heads, new float[2], HeadTensor.Interleaved(buffer.Matrix(4, 3), 2, 3), heads, default));
        Assert.Throws<ArgumentException>(() => kernels.NormalizeHeadsGradient(heads, [], default, heads, default));
        Assert.Throws<ArgumentException>(() => kernels.GroupNormGradient(
            map, new float[6], 4, two, two, two, two, true, map, map, false, new float[6], new float[6]));
        Assert.Throws<ArgumentException>(() => kernels.GroupNormGradient(
            map, new float[6], 3, two, two, two, two, true, map, map, false, new float[5], new float[6]));
    }

    private static void Compare(Matrix actual, Matrix expected, double allowed)
    {
        for (int i = 0; i < actual.Rows; i++)
        {
            Compare(actual.Row(i).ToArray(), expected.Row(i).ToArray(), allowed);
        }
    }

    private static void Compare(float[] actual, float[] expected, double allowed)
    {
        for (int i = 0; i < actual.Length; i++)
        {
            Assert.InRange(Math.Abs((double)actual[i] - expected[i]), 0, allowed + 2 * Unit * Math.Abs(expected[i]));
        }
    }

    private sealed class GroupProblem : IDisposable
    {
        private readonly (int Batch, int Height, int Width, int Channels, int Groups, bool Silu, bool Add) _shape;
        private readonly FloatBuffer _x, _dy, _before, _weight, _statistics;

        public GroupProblem(int batch, int height, int width, int channels, int groups, bool silu, bool add)
        {
            _shape = (batch, height, width, channels, groups, silu, add);
            int length = batch * height * width * channels;
            _x = Random(1, length);
            _dy = Random(2, length);
            _before = Random(3, length);
            _weight = Random(4, 2 * channels);
            _statistics = new FloatBuffer(4L * batch * channels);
            var one = new float[channels];
            Array.Fill(one, 1);
            Judge.GroupNorm(Map(_x), _weight.Span(0, channels), _weight.Span(channels, channels), groups, 1e-3f, Statistic(0), Statistic(1));
            Judge.GroupNorm(Map(_x), one, new float[channels], groups, 1e-3f, Statistic(2), Statistic(3));
        }

        public double LargestInverse => Statistic(2).Span().ToArray().Max();

        public (float[] Dx, float[] DWeight, float[] DBias) Run(KernelSet kernels, int first, int count)
        {
            using FloatBuffer dx = FloatBuffer.Of(_before.Span());
            var dWeight = new float[_shape.Channels];
            var dBias = new float[_shape.Channels];
            kernels.GroupNormGradient(
                Images(_x), _weight.Span(0, _shape.Channels), _shape.Groups, Rows(0), Rows(1), Rows(2), Rows(3), _shape.Silu,
                Images(_dy), Images(dx), _shape.Add, dWeight, dBias);
            return (Images(dx).Span().ToArray(), dWeight, dBias);

            FeatureMap Images(FloatBuffer buffer) => buffer.FeatureMap(
                count, _shape.Height, _shape.Width, _shape.Channels, (long)first * _shape.Height * _shape.Width * _shape.Channels);

            Matrix Rows(int statistic) => Statistic(statistic).SliceRows(first, count);
        }

        public void Dispose()
        {
            foreach (FloatBuffer buffer in (FloatBuffer[])[_x, _dy, _before, _weight, _statistics])
            {
                buffer.Dispose();
            }
        }

        private static FloatBuffer Random(int seed, int length)
        {
            var random = new Random(seed);
            return FloatBuffer.Of([.. Enumerable.Range(0, length).Select(_ => random.NextSingle() * 2 - 1)]);
        }

        private FeatureMap Map(FloatBuffer buffer) => buffer.FeatureMap(_shape.Batch, _shape.Height, _shape.Width, _shape.Channels);

        private Matrix Statistic(int index) => _statistics.Matrix(_shape.Batch, _shape.Channels, (long)index * _shape.Batch * _shape.Channels);
    }
}
