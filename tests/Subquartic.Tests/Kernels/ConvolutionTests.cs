using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Kernels;

public sealed class ConvolutionTests
{
    private const double Unit = 1.0 / (1 << 24);
    private const int WinogradSide = 64;

    private static readonly string[] Widths = ["vector128", "vector256", "vector512"];

    private static readonly (int Height, int Width, ConvolutionShape Shape)[] Cases =
    [
        (1, 1, new(1, 1, 1)), (5, 7, new(33, 40, 1)), (3, 2, new(160, 3, 1)),
        (1, 1, new(3, 8, 3)), (5, 7, new(3, 33, 3)), (5, 7, new(33, 3, 3)), (9, 26, new(8, 8, 3)), (2, 3, new(160, 33, 3)), (17, 2, new(1, 1, 3)),
        (6, 4, new(8, 33, 3, 2)), (7, 5, new(33, 8, 3, 2)), (2, 2, new(3, 3, 3, 2)),
        (1, 1, new(32, 32, 3, 1, WinogradSide)), (5, 7, new(33, 40, 3, 1, WinogradSide)), (9, 26, new(32, 33, 3, 1, WinogradSide)),
        (2, 3, new(160, 32, 3, 1, WinogradSide)),
    ];

    public static TheoryData<string, int> WidthsAndCases()
    {
        var data = new TheoryData<string, int>();
        foreach (string width in Widths)
        {
            for (int i = 0; i < Cases.Length; i++)
            {
                data.Add(width, i);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(WidthsAndCases))]
    public void Every_option_agrees_with_the_judge_within_the_rounding_bound(string width, int index)
    {
        (int height, int mapWidth, ConvolutionShape shape) = Cases[index];
        KernelSet kernels = Sets.Get(width, 2);
        foreach (bool scale in (bool[])[false, true])
        {
            foreach (bool silu in (bool[])[false, true])
            {
                foreach (bool upsample in (bool[])[false, true])
                {
                    using var problem = new Problem(2, height, mapWidth, shape, scale, silu, upsample, residual: scale != upsample);
                    problem.CheckAgainstJudge(kernels);
                }
            }
        }
    }

    [Theory]
    [InlineData("vector128")]
    [InlineData("vector256")]
    [InlineData("vector512")]
    public void The_hint_chooses_the_algorithm(string width)
    {
        KernelSet kernels = Sets.Get(width, 1);
        Assert.Equal(ConvolutionAlgorithm.Winograd, Algorithm(new(32, 32, 3, 1, WinogradSide)));
        Assert.Equal(ConvolutionAlgorithm.Winograd, Algorithm(new(64, 64, 3, 1, 16)));
        Assert.Equal(ConvolutionAlgorithm.Direct, Algorithm(new(64, 64, 3, 1, 8)));
        Assert.Equal(ConvolutionAlgorithm.Direct, Algorithm(new(160, 160, 3, 1, 16)));
        Assert.Equal(ConvolutionAlgorithm.Direct, Algorithm(new(32, 32, 3)));
        Assert.Equal(ConvolutionAlgorithm.Direct, Algorithm(new(32, 3, 3, 1, WinogradSide)));
        Assert.Equal(ConvolutionAlgorithm.Direct, Algorithm(new(32, 32, 3, 2, WinogradSide)));
        Assert.Equal(ConvolutionAlgorithm.Direct, Algorithm(new(32, 32, 1, 1, WinogradSide)));

        ConvolutionAlgorithm Algorithm(ConvolutionShape shape)
        {
            using PackedConvolution packed = kernels.PackConvolution(shape, new float[shape.Inputs * shape.Outputs * shape.Kernel * shape.Kernel], []);
            return packed.Algorithm;
        }
    }

    [Theory]
    [InlineData("vector128")]
    [InlineData("vector256")]
    [InlineData("vector512")]
    public void Bits_depend_on_neither_threads_nor_batch_nor_place(string width)
    {
        foreach (ConvolutionShape shape in (ConvolutionShape[])[new(17, 70, 3), new(33, 70, 3, 1, WinogradSide), new(24, 9, 1), new(16, 33, 3, 2)])
        {
            // 18 x 50 spans several blocks of either algorithm; the small map is split over the outputs instead.
            foreach ((int height, int mapWidth) in ((int, int)[])[(18, 50), (6, 5)])
            {
                using var problem = new Problem(3, height, mapWidth, shape, scale: true, silu: true, upsample: false, residual: true);
                float[] expected = problem.Run(Sets.Get(width, 1));
                Assert.Equal(expected, problem.Run(Sets.Get(width, 2)));
                Assert.Equal(expected, problem.Run(Sets.Get(width, 3)));
                float[] alone = [.. Enumerable.Range(0, 3).SelectMany(image => problem.RunAlone(Sets.Get(width, 2), image))];
                Assert.Equal(expected, alone);
            }
        }
    }

    [Theory]
    [InlineData("vector128")]
    [InlineData("vector256")]
    [InlineData("vector512")]
    public void The_output_may_be_the_residual(string width)
    {
        foreach (int side in (int[])[0, WinogradSide])
        {
            using var problem = new Problem(1, 9, 10, new ConvolutionShape(32, 40, 3, 1, side), false, false, false, residual: true);
            Assert.Equal(problem.Run(Sets.Get(width, 2)), problem.RunInPlace(Sets.Get(width, 2)));
        }
    }

    [Theory]
    [InlineData("vector128")]
    [InlineData("vector256")]
    [InlineData("vector512")]
    public void Large_results_that_pass_the_caches_have_the_same_bits(string width)
    {
        KernelSet kernels = Sets.Get(width, 2);
        foreach (ConvolutionShape shape in (ConvolutionShape[])[new(4, 64, 1), new(32, 64, 3, 1, WinogradSide)])
        {
            // Three maps of 6 MB together are stored past the caches, each alone is not.
            const int height = 160, mapWidth = 148;
            var random = new Random(3);
            using var input = new FloatBuffer(3 * height * mapWidth * shape.Inputs);
            using var output = new FloatBuffer(3 * height * mapWidth * shape.Outputs);
            foreach (ref float value in input.Span())
            {
                value = random.NextSingle() - 0.5f;
            }

            float[] weight = [.. Enumerable.Range(0, shape.Outputs * shape.Inputs * shape.Kernel * shape.Kernel).Select(_ => random.NextSingle() - 0.5f)];
            using PackedConvolution packed = kernels.PackConvolution(shape, weight, []);
            FeatureMap x = input.FeatureMap(3, height, mapWidth, shape.Inputs);
            FeatureMap y = output.FeatureMap(3, height, mapWidth, shape.Outputs);
            kernels.Convolve(x, packed, y);
            using FloatBuffer together = FloatBuffer.Of(output.Span());
            for (int image = 0; image < 3; image++)
            {
                kernels.Convolve(x.Image(image), packed, y.Image(image));
            }

            Assert.True(output.Span().SequenceEqual(together.Span()));
        }
    }

    [Fact]
    public void The_error_of_winograd_on_gaussian_data_is_as_stated()
    {
        var shape = new ConvolutionShape(320, 32, 3, 1, WinogradSide);
        using var problem = new Problem(1, 8, 12, shape, false, false, false, residual: false, gaussian: true);
        (double rms, double worst) = problem.RelativeError(Sets.Get("vector256", 2));
        // Stated at ConvolutionAlgorithm.Winograd, with a tenth to spare; the usual points 1 and 2 double both.
        Assert.InRange(rms, 0, 1.9e-6);
        Assert.InRange(worst, 0, 3.6e-6);
    }

    [Theory]
    [InlineData("scalar")]
    [InlineData("vector256")]
    public void Calls_that_do_not_fit_are_refused(string width)
    {
        KernelSet kernels = Sets.Get(width, 1);
        var shape = new ConvolutionShape(2, 3, 3);
        Assert.Throws<ArgumentException>(() => kernels.PackConvolution(shape, new float[53], []));
        Assert.Throws<ArgumentException>(() => kernels.PackConvolution(shape, new float[54], new float[2]));
        Assert.Throws<ArgumentException>(() => kernels.PackConvolution(shape with { Kernel = 5 }, new float[150], []));
        Assert.Throws<ArgumentException>(() => kernels.PackConvolution(shape with { Kernel = 1, Stride = 2 }, new float[6], []));
        using PackedConvolution packed = kernels.PackConvolution(shape, new float[54], []);
        using var buffer = new FloatBuffer(1000);
        FeatureMap x = buffer.FeatureMap(1, 4, 4, 2);
        FeatureMap y = buffer.FeatureMap(1, 4, 4, 3, 100);
        Assert.Throws<ArgumentException>(() => kernels.Convolve(x, packed, buffer.FeatureMap(1, 4, 5, 3, 100)));
        Assert.Throws<ArgumentException>(() => kernels.Convolve(buffer.FeatureMap(1, 4, 4, 3), packed, y));
        Assert.Throws<ArgumentException>(() => kernels.Convolve(x, packed, y, new ConvolutionOptions { Residual = x }));
        Assert.Throws<ArgumentException>(() => Sets.Get("vector128", 1).Convolve(x, packed, y));
    }

    /// <summary>One convolution with random operands, laid between canaries.</summary>
    private sealed class Problem : IDisposable
    {
        private const float Canary = -12345;
        private const int Margin = 64;

        private readonly ConvolutionShape _shape;
        private readonly FloatBuffer _x;
        private readonly FloatBuffer _y;
        private readonly FloatBuffer _residual;
        private readonly FloatBuffer _scale;
        private readonly FloatBuffer _shift;
        private readonly float[] _weight;
        private readonly float[] _bias;
        private readonly FeatureMap _input;
        private readonly FeatureMap _output;
        private readonly ConvolutionOptions _options;

        public Problem(
            int batch, int height, int width, ConvolutionShape shape, bool scale, bool silu, bool upsample, bool residual, bool gaussian = false)
        {
            var random = new Random(11);
            float Next() => gaussian
                ? (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()))
                : random.NextSingle() * 2 - 1;
            float[] Values(int count) => [.. Enumerable.Range(0, count).Select(_ => Next())];

            int up = upsample ? 2 : 1;
            int newHeight = shape.OutputSize(height * up);
            int newWidth = shape.OutputSize(width * up);
            int outputs = batch * newHeight * newWidth * shape.Outputs;
            _shape = shape;
            _weight = Values(shape.Outputs * shape.Inputs * shape.Kernel * shape.Kernel);
            _bias = Values(shape.Outputs);
            // NaN before and after the input: a kernel that reads it spoils its result.
            float[] nan = [.. Enumerable.Repeat(float.NaN, Margin)];
            _x = FloatBuffer.Of([.. nan, .. Values(batch * height * width * shape.Inputs), .. nan]);
            _y = new FloatBuffer(outputs + 2 * Margin);
            _residual = FloatBuffer.Of(Values(outputs));
            _scale = FloatBuffer.Of(Values(batch * shape.Inputs));
            _shift = FloatBuffer.Of(Values(batch * shape.Inputs));
            _input = _x.FeatureMap(batch, height, width, shape.Inputs, Margin);
            _output = _y.FeatureMap(batch, newHeight, newWidth, shape.Outputs, Margin);
            _options = new ConvolutionOptions
            {
                Scale = scale ? _scale.Matrix(batch, shape.Inputs) : default,
                Shift = scale ? _shift.Matrix(batch, shape.Inputs) : default,
                Silu = silu,
                Upsample = upsample,
                Residual = residual ? _residual.FeatureMap(batch, newHeight, newWidth, shape.Outputs) : default,
            };
        }

        private static KernelSet Judge => Sets.Get("scalar", 1);

        public float[] Run(KernelSet kernels)
        {
            using PackedConvolution packed = kernels.PackConvolution(_shape, _weight, _bias);
            _y.Span().Fill(Canary);
            kernels.Convolve(_input, packed, _output, _options);
            Assert.All(_y.Span(0, Margin).ToArray(), value => Assert.Equal(Canary, value));
            Assert.All(_y.Span(_y.Length - Margin, Margin).ToArray(), value => Assert.Equal(Canary, value));
            return _output.Span().ToArray();
        }

        public float[] RunAlone(KernelSet kernels, int image)
        {
            using PackedConvolution packed = kernels.PackConvolution(_shape, _weight, _bias);
            FeatureMap output = _output.Image(image);
            kernels.Convolve(_input.Image(image), packed, output, new ConvolutionOptions
            {
                Scale = _options.Scale.SliceRows(image, 1),
                Shift = _options.Shift.SliceRows(image, 1),
                Silu = _options.Silu,
                Upsample = _options.Upsample,
                Residual = _options.Residual.Image(image),
            });
            return output.Span().ToArray();
        }

        public float[] RunInPlace(KernelSet kernels)
        {
            using PackedConvolution packed = kernels.PackConvolution(_shape, _weight, _bias);
            _options.Residual.Span().CopyTo(_output.Span());
            kernels.Convolve(_input, packed, _output, new ConvolutionOptions { Residual = _output });
            return _output.Span().ToArray();
        }

        public void CheckAgainstJudge(KernelSet kernels)
        {
            float[] actual = Run(kernels);
            float[] expected = Run(Judge);
            double[] bound = Bounds();
            for (int i = 0; i < expected.Length; i++)
            {
                Assert.True(
                    Math.Abs(actual[i] - expected[i]) <= bound[i],
                    $"{kernels.Name} {_shape} at {i}: {actual[i]}, judge {expected[i]}, bound {bound[i]:E2}");
            }
        }

        public (double Rms, double Worst) RelativeError(KernelSet kernels)
        {
            float[] actual = Run(kernels);
            float[] expected = Run(Judge);
            double error = 0, size = 0, worst = 0, largest = 0;
            for (int i = 0; i < expected.Length; i++)
            {
                double difference = Math.Abs((double)actual[i] - expected[i]);
                error += difference * difference;
                size += (double)expected[i] * expected[i];
                worst = Math.Max(worst, difference);
                largest = Math.Max(largest, Math.Abs(expected[i]));
            }

            return (Math.Sqrt(error / size), worst / largest);
        }

        public void Dispose()
        {
            _x.Dispose();
            _y.Dispose();
            _residual.Dispose();
            _scale.Dispose();
            _shift.Dispose();
        }

        /// <summary>Bounds on the rounding error of every output (Higham, "Accuracy and stability of numerical algorithms", section 3.1).</summary>
        private double[] Bounds()
        {
            bool prologue = _options.Silu || _options.Scale.Buffer is not null;
            bool winograd = _shape.ExpectedSide == WinogradSide;
            int channels = _shape.Inputs;
            using var errors = new FloatBuffer(_input.Length);
            FeatureMap error = errors.FeatureMap(_input.Batch, _input.Height, _input.Width, channels);

            // Direct: a chain of taps * inputs multiply-adds, bias and residual; two more where a product is rounded by itself
            // and for the judge's own rounding. Each carries gamma_n times the sum of |input * weight|.
            double steps = _shape.Kernel * _shape.Kernel * channels + 4;
            double gamma = steps * Unit / (1 - steps * Unit);
            double largest = 0;
            for (int i = 0; i < _input.Length; i++)
            {
                int image = (int)(i / (_input.Length / _input.Batch));
                double value = _input.Span()[i];
                double magnitude = Math.Abs(value);
                if (_options.Scale.Buffer is not null)
                {
                    double product = value * _options.Scale.Row(image)[i % channels];
                    double offset = _options.Shift.Row(image)[i % channels];
                    value = product + offset;
                    magnitude = Math.Abs(product) + Math.Abs(offset);
                }

                double input = Math.Abs(_options.Silu ? value / (1 + Math.Exp(-value)) : value);
                // Prologue: two roundings of the sum's parts, which SiLU, of slope at most 1.1, passes on; SiLU itself 3 ulp = 6 units.
                errors.Span()[i] = (float)((winograd ? 0 : gamma * input) + (prologue ? Unit * (3 * magnitude + 6 * input) : 0));
                largest = Math.Max(largest, input);
            }

            using PackedConvolution magnitudes = Judge.PackConvolution(_shape, [.. _weight.Select(Math.Abs)], []);
            Judge.Convolve(error, magnitudes, _output, new ConvolutionOptions { Upsample = _options.Upsample });
            double[] bounds = [.. _output.Span().ToArray().Select(value => (double)value)];
            double winogradBound = winograd ? WinogradBound(channels, largest, _weight.Max(Math.Abs)) : 0;
            for (int i = 0; i < bounds.Length; i++)
            {
                double constant = Math.Abs(_bias[i % _shape.Outputs])
                    + (_options.Residual.Buffer is null ? 0 : Math.Abs(_options.Residual.Span()[i]));
                // The sums above were rounded to float and the products of bounds dropped: one part in a thousand covers both.
                bounds[i] = 1.001 * bounds[i] + gamma * constant + winogradBound;
            }

            return bounds;
        }

        /// <summary>Each axis of an output is sum_i A_ki (G g)_i (B d)_i over the six points: with |d| and |g| at their largest, at most
        /// sum_i |A_ki| |G_i|_1 |B_i|_1 times their product; two axes square the factor. Roundings: C products, 1 of the weights, up to 4 a
        /// transform and axis, 4 as in the direct form.</summary>
        private static double WinogradBound(int channels, double largestInput, double largestWeight)
        {
            const double p = 0.625, q = 1.5, p2 = p * p, q2 = q * q;
            double scaleP = 1 / (2 * p2 * (q2 - p2)), scaleQ = 1 / (2 * q2 * (q2 - p2));
            double zero = 1 / (p2 * q2) * (p2 * q2 + p2 + q2 + 1);
            double atP = scaleP * (1 + p + p2) * (p * q2 + q2 + p + 1);
            double atQ = scaleQ * (1 + q + q2) * (q * p2 + p2 + q + 1);
            double infinity = p2 * q2 + p2 + q2 + 1;
            double factor = Enumerable.Range(0, 4)
                .Max(k => (k == 0 ? zero : 0) + 2 * Math.Pow(p, k) * atP + 2 * Math.Pow(q, k) * atQ + (k == 3 ? infinity : 0));
            double steps = channels + 1 + 16 + 4;
            return steps * Unit / (1 - steps * Unit) * factor * factor * channels * largestInput * largestWeight;
        }
    }
}
