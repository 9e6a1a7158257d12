using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Kernels;

public sealed class ConvolutionWeightGradientTests
{
    private const double Unit = 1.0 / (1 << 24);

    // Odd sizes, one pixel, few inputs or outputs; 33 leaves one channel after whole panels, 64 none at any width; 70 x 40 makes several bands.
    private static readonly (int Height, int Width, ConvolutionShape Shape)[] Cases =
    [
        (1, 1, new(1, 1, 1)), (5, 7, new(33, 40, 1)), (3, 2, new(64, 3, 1)), (3, 2, new(3, 64, 1)),
        (1, 1, new(3, 8, 3)), (5, 7, new(3, 32, 3)), (5, 7, new(33, 3, 3)), (9, 26, new(8, 8, 3)), (2, 3, new(64, 33, 3)), (17, 2, new(1, 1, 3)),
        (3, 1, new(32, 64, 3)), (70, 40, new(5, 9, 3)), (6, 4, new(8, 33, 3, 2)), (7, 5, new(33, 8, 3, 2)), (2, 2, new(3, 3, 3, 2)),
        (1, 1, new(3, 32, 3, 2)), (8, 9, new(16, 32, 3, 2)),

        // By Winograd where panels divide the inputs, with tiles cut off and one block or several.
        (17, 18, new(32, 33, 3)), (12, 13, new(32, 32, 3)), (20, 35, new(64, 32, 3)), (7, 10, new(32, 40, 3)),
    ];

    public static TheoryData<string, int> SetsAndCases()
    {
        var data = new TheoryData<string, int>();
        foreach (string name in KernelSet.Available)
        {
            for (int i = 0; i < Cases.Length; i++)
            {
                data.Add(name, i);
            }
        }

        return data;
    }

    public static TheoryData<string> AllSets() => [.. KernelSet.Available];

    [Theory]
    [MemberData(nameof(SetsAndCases))]
    public void Every_shape_agrees_with_the_judge_within_the_rounding_bound(string name, int index)
    {
        (int height, int width, ConvolutionShape shape) = Cases[index];
        foreach (bool upsample in (bool[])[false, true])
        {
            using var problem = new Problem(2, height, width, shape, upsample);
            problem.CheckAgainstDefinition(Sets.Get(name, 2));
        }
    }

    [Theory]
    [MemberData(nameof(AllSets))]
    public void Bits_do_not_depend_on_threads(string name)
    {
        foreach (ConvolutionShape shape in (ConvolutionShape[])[new(17, 40, 3), new(3, 32, 3), new(24, 9, 1), new(16, 33, 3, 2), new(32, 32, 3)])
        {
            foreach (bool upsample in (bool[])[false, true])
            {
                using var problem = new Problem(3, 9, 10, shape, upsample);
                float[] expected = problem.Run(Sets.Get(name, 1));
                Assert.Equal(expected, problem.Run(Sets.Get(name, 2)));
                Assert.Equal(expected, problem.Run(Sets.Get(name, 3)));
            }
        }
    }

    [Theory]
    [MemberData(nameof(AllSets))]
    public void An_image_adds_the_same_bits_wherever_it_stands(string name)
    {
        // Among images without gradients, which add zeros.
        foreach (ConvolutionShape shape in (ConvolutionShape[])[new(17, 40, 3), new(32, 32, 3)])
        {
            using var problem = new Problem(3, 9, 10, shape, upsample: true);
            float[] alone = problem.RunAlone(Sets.Get(name, 2), image: 2);
            Assert.Equal(alone, problem.RunAmongZeros(Sets.Get(name, 2), image: 2));
        }
    }

    [Theory]
    [InlineData("scalar")]
    [InlineData("vector256")]
    public void Calls_that_do_not_fit_are_refused(string name)
    {
        KernelSet kernels = Sets.Get(name, 1);
        var shape = new ConvolutionShape(2, 3, 3);
        using var buffer = new FloatBuffer(1000);
        FeatureMap x = buffer.FeatureMap(1, 4, 4, 2);
        FeatureMap dy = buffer.FeatureMap(1, 4, 4, 3, 100);
        Matrix dWeight = buffer.Matrix(3, 18, 200);
        kernels.ConvolveWeightGradient(x, dy, shape, false, dWeight);
        Assert.Throws<ArgumentException>(() => kernels.ConvolveWeightGradient(x, dy, shape, true, dWeight));
        Assert.Throws<ArgumentException>(() => kernels.ConvolveWeightGradient(dy, x, shape, false, dWeight));
        Assert.Throws<ArgumentException>(() => kernels.ConvolveWeightGradient(x, dy, shape with { Kernel = 5 }, false, dWeight));
        Assert.Throws<ArgumentException>(() => kernels.ConvolveWeightGradient(x, dy, shape, false, buffer.Matrix(18, 3, 200)));
    }

    /// <summary>Random operands: the maps between NaN, which spoils a result that reads it, and the gradient between canaries.</summary>
    private sealed class Problem : IDisposable
    {
        private const float Canary = -12345;
        private const int Margin = 64;

        private readonly ConvolutionShape _shape;
        private readonly bool _upsample;
        private readonly FloatBuffer _x;
        private readonly FloatBuffer _dy;
        private readonly float[] _before;
        private readonly FeatureMap _input;
        private readonly FeatureMap _gradient;

        public Problem(int batch, int height, int width, ConvolutionShape shape, bool upsample)
        {
            var random = new Random(17);
            float[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() * 2 - 1)];
            int up = upsample ? 2 : 1;
            int newHeight = shape.OutputSize(height * up);
            int newWidth = shape.OutputSize(width * up);
            float[] nan = [.. Enumerable.Repeat(float.NaN, Margin)];
            _shape = shape;
            _upsample = upsample;
            _x = FloatBuffer.Of([.. nan, .. Values(batch * height * width * shape.Inputs), .. nan]);
            _dy = FloatBuffer.Of([.. nan, .. Values(batch * newHeight * newWidth * shape.Outputs), .. nan]);
            _before = Values(shape.Outputs * shape.Inputs * shape.Kernel * shape.Kernel);
            _input = _x.FeatureMap(batch, height, width, shape.Inputs, Margin);
            _gradient = _dy.FeatureMap(batch, newHeight, newWidth, shape.Outputs, Margin);
        }

        public float[] Run(KernelSet kernels) => Run(kernels, _input, _gradient);

        public float[] RunAlone(KernelSet kernels, int image) => Run(kernels, _input.Image(image), _gradient.Image(image));

        public float[] RunAmongZeros(KernelSet kernels, int image)
        {
            using FloatBuffer copy = FloatBuffer.Of(_gradient.Span());
            FeatureMap others = copy.FeatureMap(_gradient.Batch, _gradient.Height, _gradient.Width, _gradient.Channels);
            for (int b = 0; b < others.Batch; b++)
            {
                if (b != image)
                {
                    others.Image(b).Span().Clear();
                }
            }

            return Run(kernels, _input, others);
        }

        /// <summary>Sums by another route than the kernels: every input pixel goes to the outputs it takes part in, in double precision.</summary>
        public void CheckAgainstDefinition(KernelSet kernels)
        {
            int taps = _shape.Kernel * _shape.Kernel;
            int padding = _shape.Kernel == 3 && _shape.Stride == 1 ? 1 : 0;
            int up = _upsample ? 2 : 1;
            double[] expected = [.. _before];
            double[] magnitudes = [.. _before.Select(value => Math.Abs((double)value))];
            for (int image = 0; image < _input.Batch; image++)
            {
                for (int sy = 0; sy < _input.Height * up; sy++)
                {
                    for (int sx = 0; sx < _input.Width * up; sx++)
                    {
                        for (int tap = 0; tap < taps; tap++)
                        {
                            (int row, int rowRest) = Math.DivRem(sy + padding - tap / _shape.Kernel, _shape.Stride);
                            (int column, int columnRest) = Math.DivRem(sx + padding - tap % _shape.Kernel, _shape.Stride);
                            if (rowRest == 0 && columnRest == 0 && row >= 0 && column >= 0 && row < _gradient.Height && column < _gradient.Width)
                            {
                                Add(_gradient.Pixel(image, row, column), _input.Pixel(image, sy / up, sx / up), tap);
                            }
                        }
                    }
                }
            }

            float[] actual = Run(kernels);

            // One chain of multiply-adds per image, twice rounded where the processor lacks them, the images, and what was there before.
            double roundings = 2 * _gradient.Height * _gradient.Width + _input.Batch + 1;
            bool large = _shape.Kernel == 3 && _shape.Stride == 1 && Math.Min(_gradient.Height, _gradient.Width) >= 12
                && _shape.Inputs >= 32 && _shape.Outputs >= 32 && _shape.Inputs % 8 == 0 && kernels.Name != "scalar";
            double winograd = large ? WinogradBound() : 0;
            for (int i = 0; i < actual.Length; i++)
            {
                Assert.InRange(Math.Abs(actual[i] - expected[i]), 0, (roundings * Unit * magnitudes[i]) + winograd);
            }

            void Add(Span<float> dy, Span<float> x, int tap)
            {
                for (int o = 0; o < dy.Length; o++)
                {
                    for (int i = 0; i < x.Length; i++)
                    {
                        double product = (double)dy[o] * x[i];
                        expected[(o * x.Length + i) * taps + tap] += product;
                        magnitudes[(o * x.Length + i) * taps + tap] += Math.Abs(product);
                    }
                }
            }
        }

        /// <summary>Each axis of a tap is sum_i G_ik (A y)_i (B d)_i over the six points: with |y| and |d| at their largest, at most sum_i |G_ik| |A_i|_1 |B_i|_1
        /// times their product; two axes square the factor. Roundings: the chain of tiles of an image, twice where the processor lacks multiply-adds, the
        /// images, up to 4 for each of three transforms and two axes, and twice that again without multiply-adds.</summary>
        private double WinogradBound()
        {
            const double p = 0.625, q = 1.5, p2 = p * p, q2 = q * q;
            double scaleP = 1 / (2 * p2 * (q2 - p2)), scaleQ = 1 / (2 * q2 * (q2 - p2));
            double ends = p2 * q2 + p2 + q2 + 1;
            double atP = scaleP * (1 + p + p2 + p2 * p) * (p * q2 + q2 + p + 1);
            double atQ = scaleQ * (1 + q + q2 + q2 * q) * (q * p2 + p2 + q + 1);
            double factor = Enumerable.Range(0, 3).Max(k =>
                (k == 0 ? ends / (p2 * q2) : 0) + 2 * Math.Pow(p, k) * atP + 2 * Math.Pow(q, k) * atQ + (k == 2 ? ends : 0));
            double tiles = Math.Ceiling(_gradient.Height / 4.0) * Math.Ceiling(_gradient.Width / 4.0);
            double steps = (2 * tiles) + _input.Batch + 48;
            return steps * Unit * factor * factor * tiles * _input.Batch;
        }

        public void Dispose()
        {
            _x.Dispose();
            _dy.Dispose();
        }

        // The rows of the gradient lie apart, with canaries between them.
        private float[] Run(KernelSet kernels, FeatureMap x, FeatureMap dy)
        {
            int columns = _shape.Inputs * _shape.Kernel * _shape.Kernel;
            using var result = new FloatBuffer((long)_shape.Outputs * (columns + 1) + 1);
            result.Span().Fill(Canary);
            var dWeight = new Matrix(result, 1, _shape.Outputs, columns, columns + 1);
            for (int o = 0; o < _shape.Outputs; o++)
            {
                _before.AsSpan(o * columns, columns).CopyTo(dWeight.Row(o));
            }

            kernels.ConvolveWeightGradient(x, dy, _shape, _upsample, dWeight);
            for (int o = 0; o <= _shape.Outputs; o++)
            {
                Assert.Equal(Canary, result.Span()[o * (columns + 1)]);
            }

            return [.. Enumerable.Range(0, _shape.Outputs).SelectMany(o => dWeight.Row(o).ToArray())];
        }
    }
}
