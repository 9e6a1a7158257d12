using Subquartic.Attention;
using Subquartic.Generation;
using Subquartic.Imaging;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Tests.Attention;
using Subquartic.Tests.Models;
using Subquartic.Tests.Verification;
using Subquartic.Verification;

namespace Subquartic.Tests.Generation;

public sealed class ImageGeneratorTests : IDisposable
{
    private static readonly GenerationRequest Request = new() { Labels = [0, 3, 1], Seed = 11, Sampling = new() { TopK = 40, TopP = 0.9f } };

    private readonly SmallModel _small = new();
    private readonly ImageGenerator _generator;

    public ImageGeneratorTests() => _generator = _small.LoadGenerator(KernelSet.Create("vector256", threads: 1));

    private static ScaleSchedule Scales => SmallModel.Var.Scales;

    public void Dispose()
    {
        _generator.Dispose();
        _small.Dispose();
    }

    [Fact]
    public void Greedy_images_are_those_of_the_reference()
    {
        using CaseFolder folder = GoldenCases.Open(GoldenCases.C);
        using ImageGenerator generator = ImageGenerator.Load(
            GoldenCases.PathOf(GoldenCases.C), new GeneratorOptions { Kernels = KernelSet.Create("vector256", threads: 2) });
        GenerationResult result = generator.Generate(new GenerationRequest
        {
            Labels = folder.Integers("greedy.label_B"),
            Guidance = folder.Config.Inference.Cfg,
            Sampling = SamplingOptions.Greedy,
            KeepPixels = true,
        });
        Assert.Equal(folder.Integers("greedy.idx_BL"), result.Images.SelectMany(image => image.Tokens));
        FeatureMap expected = folder.Map("greedy.image");
        double tolerance = folder.Config.Tolerance("greedy.image")!.Value;
        for (int i = 0; i < result.Images.Count; i++)
        {
            ReadOnlySpan<float> pixels = expected.Image(i).Span();
            for (int p = 0; p < pixels.Length; p++)
            {
                Assert.Equal(pixels[p], (Math.Clamp(result.Images[i].Pixels![p], -1, 1) + 1) / 2, tolerance);
            }
        }
    }

    [Theory]
    [InlineData(1, 1 << 20)]
    [InlineData(2, 1 << 20)]
    [InlineData(3, 1)]
    public void An_image_is_the_same_alone_in_a_batch_and_on_any_number_of_threads(int threads, long batchBytes)
    {
        // One byte for a batch means one image at a time.
        using ImageGenerator generator = _small.LoadGenerator(KernelSet.Create("vector256", threads), batchBytes: batchBytes);
        IReadOnlyList<GeneratedImage> batch = generator.Generate(Request with { KeepPixels = true }).Images;
        GeneratedImage alone = _generator.Generate(Request with { Labels = [3], FirstIndex = 1, KeepPixels = true }).Images.Single();
        Assert.Equal([0, 1, 2], batch.Select(image => image.Index));
        Assert.Equal(alone.Tokens, batch[1].Tokens);
        Assert.Equal(alone.Pixels, batch[1].Pixels);
        Assert.Equal(1, alone.Index);
        Assert.NotEqual(batch[0].Tokens, batch[1].Tokens);
    }

    /// <summary>Tokens of the first pass are those of a single one, as long as maps before are the same; later passes see them.</summary>
    [Fact]
    public void Tokens_drawn_in_passes_see_those_before()
    {
        GenerationRequest single = Request with { Guidance = 1 }, several = single with { Sampling = single.Sampling with { Passes = 4 } };
        IReadOnlyList<GeneratedImage> once = _generator.Generate(single).Images, passes = _generator.Generate(several).Images;
        int[] order = Scales[1].PassesOf(4);
        for (int i = 0; i < once.Count; i++)
        {
            Assert.Equal(once[i].Tokens[0], passes[i].Tokens[0]);
            Assert.All(
                Enumerable.Range(0, order.Length).Where(token => order[token] == 0),
                token => Assert.Equal(once[i].Tokens[Scales.Start(1) + token], passes[i].Tokens[Scales.Start(1) + token]));
            Assert.NotEqual(once[i].Tokens, passes[i].Tokens);
        }

        using ImageGenerator other = _small.LoadGenerator(KernelSet.Create("vector256", 2), batchBytes: 1);
        Assert.Equal(passes[1].Tokens, other.Generate(several with { Labels = [3], FirstIndex = 1 }).Images.Single().Tokens);
        Assert.Throws<ArgumentOutOfRangeException>(() => _generator.Generate(several with { Sampling = several.Sampling with { MoreSmooth = true } }));
        Assert.Throws<ArgumentOutOfRangeException>(() => _generator.Generate(several with { Sampling = several.Sampling with { Passes = 17 } }));
    }

    [Theory]
    [InlineData(1, 1, 16, 1)]
    [InlineData(2, 2, 4, 4)]
    [InlineData(2, 2, 16, 4)]
    [InlineData(1, 3, 4, 2)]
    [InlineData(8, 8, 3, 3)]
    [InlineData(16, 16, 16, 16)]
    public void Passes_share_a_map_evenly_and_none_is_empty(int height, int width, int passes, int used)
    {
        var map = new TokenMapSize(height, width);
        int[] order = map.PassesOf(passes);
        Assert.Equal(Enumerable.Range(0, used), order.Distinct().Order());
        if (height % 4 == 0)
        {
            int[] counts = [.. order.CountBy(pass => pass).Select(pair => pair.Value)];
            Assert.True(counts.Max() - counts.Min() <= map.Tokens / 16);
        }

        if (passes == 4 && height > 1)
        {
            // No two tokens of a pass touch, diagonally either.
            Assert.All(Enumerable.Range(0, map.Tokens - 1).Where(i => (i + 1) % width > 0), i => Assert.NotEqual(order[i], order[i + 1]));
            Assert.All(Enumerable.Range(0, map.Tokens - width), i => Assert.NotEqual(order[i], order[i + width]));
        }
    }

    [Fact]
    public void The_same_request_gives_the_same_bytes_again_and_another_seed_others()
    {
        GeneratedImage first = _generator.Generate(Request).Images[0];
        GeneratedImage again = _generator.Generate(Request).Images[0];
        Assert.Equal(first.Image.Bytes.ToArray(), again.Image.Bytes.ToArray());
        Assert.NotEqual(first.Tokens, _generator.Generate(Request with { Seed = 12 }).Images[0].Tokens);
    }

    [Fact]
    public void No_guidance_is_the_limit_of_weak_guidance_at_half_the_work()
    {
        GenerationRequest request = Request with { Labels = [2], Sampling = SamplingOptions.Greedy };
        GenerationResult without = _generator.Generate(request with { Guidance = 0 });
        GenerationResult weak = _generator.Generate(request with { Guidance = 1e-20f });
        Assert.Equal(weak.Images[0].Tokens, without.Images[0].Tokens);
        Assert.Equal(weak.Statistics.TransformerFlops, 2 * without.Statistics.TransformerFlops);
    }

    [Fact]
    public async Task Scales_stream_in_order_and_tell_what_happened()
    {
        var results = new List<ScaleResult>();
        await foreach (ScaleResult result in _generator.GenerateAsync(Request with { Previews = true }))
        {
            results.Add(result);
        }

        GenerationResult whole = _generator.Generate(Request);
        Assert.Equal(Enumerable.Range(0, Scales.Count), results.Select(result => result.Scale));
        Assert.Equal(results.Select(result => result.Progress).Order(), results.Select(result => result.Progress));
        Assert.Equal(1, results[^1].Progress, 1e-9);
        for (int k = 0; k < Scales.Count; k++)
        {
            Assert.Equal(Scales[k], results[k].Size);
            int[] expected = [.. whole.Images.SelectMany(image => image.Tokens.Skip(Scales.Start(k)).Take(Scales[k].Tokens))];
            Assert.Equal(expected, results[k].Tokens);
            Assert.Equal(3 * Scales.Last.Tokens * SmallModel.Var.CodeChannels, results[k].FeatureMap.Count);
            Assert.Equal(k + 1 < Scales.Count ? 3 : 0, results[k].Previews.Count);
            Assert.All(results[k].Previews, preview => Assert.Equal((2 * Scales[k].Height, 2 * Scales[k].Width), (preview.Height, preview.Width)));
        }

        Assert.Equal(whole.Images.Select(image => image.Image.Bytes.ToArray()), results[^1].Finished.Select(image => image.Image.Bytes.ToArray()));
    }

    [Fact]
    public async Task Leaving_the_stream_early_frees_the_generator()
    {
        await foreach (ScaleResult result in _generator.GenerateAsync(Request))
        {
            Assert.Equal(0, result.Scale);
            break;
        }

        Assert.Equal(3, _generator.Generate(Request).Images.Count);
    }

    [Fact]
    public void Cancellation_reaches_transformer_and_decoder()
    {
        // Two blocks and four scales: call 3 is in the second scale, call 9 the first of the decoder.
        foreach (int calls in (int[])[3, 9])
        {
            using var source = new CancellationTokenSource();
            ObservedAttention? attention = null;
            using ImageGenerator generator = _small.LoadGenerator(
                KernelSet.Create("vector256", threads: 1),
                kernels => attention = new ObservedAttention(kernels, call => Cancel(call == calls, source)));
            Assert.Throws<OperationCanceledException>(() => generator.Generate(Request with { Labels = [1] }, cancellation: source.Token));
            Assert.Equal(calls, attention!.Calls);
            Assert.Single(generator.Generate(Request with { Labels = [1] }).Images);
        }

        static void Cancel(bool now, CancellationTokenSource source)
        {
            if (now)
            {
                source.Cancel();
            }
        }
    }

    [Fact]
    public void Kept_tokens_stay_and_the_others_are_drawn()
    {
        RgbImage picture = _generator.Generate(Request with { Labels = [2], Seed = 5 }).Images[0].Image;
        EditMask mask = EditMask.Rectangle(picture.Height, picture.Width, 0, 0, picture.Height, picture.Width / 2, redrawInside: true);
        GenerationRequest prepared = _generator.Prepare(new EditRequest { Image = picture, Mask = mask, Generation = Request });
        int[] given = prepared.Kept!.Of(0);
        bool[] kept = mask.KeptTokens(Scales);
        foreach ((bool smooth, int passes) in ((bool, int)[])[(false, 1), (true, 1), (false, 4)])
        {
            GenerationRequest request = prepared with { Sampling = prepared.Sampling with { MoreSmooth = smooth, Passes = passes } };
            GenerationResult result = _generator.Generate(request);
            Assert.Equal(3, result.Images.Count);
            Assert.All(result.Images, image => Assert.Equal(given.Where((_, i) => kept[i]), image.Tokens.Where((_, i) => kept[i])));
            Assert.NotEqual(result.Images[0].Tokens, result.Images[1].Tokens);
        }
    }

    [Fact]
    public void A_mask_that_keeps_everything_gives_the_reconstruction()
    {
        RgbImage picture = _generator.Generate(Request with { Labels = [2], Seed = 5 }).Images[0].Image;
        EditMask mask = EditMask.FromPicture(new RgbImage(picture.Height, picture.Width));
        GenerationRequest prepared = _generator.Prepare(new EditRequest { Image = picture, Mask = mask, Generation = Request with { Labels = [0] } });
        Assert.Equal(prepared.Kept!.Of(0), _generator.Generate(prepared).Images[0].Tokens);
    }

    [Fact]
    public void Pictures_and_masks_of_another_size_are_refused()
    {
        EditMask mask = EditMask.FromPicture(new RgbImage(_generator.ImageHeight, _generator.ImageWidth));
        ArgumentException exception = Assert.Throws<ArgumentException>(() =>
            _generator.Prepare(new EditRequest { Image = new RgbImage(9, 9), Mask = mask, Generation = Request }));
        Assert.Contains("9 x 9", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Requests_outside_the_model_are_refused()
    {
        Assert.Throws<ArgumentException>(() => _generator.Generate(Request with { Labels = [] }));
        Assert.Throws<ArgumentException>(() => _generator.Generate(Request with { Labels = [5] }));
        Assert.Throws<ArgumentOutOfRangeException>(() => _generator.Generate(Request with { Guidance = float.NaN }));
        Assert.Throws<ArgumentOutOfRangeException>(() => _generator.Generate(Request with { FirstIndex = -1 }));
    }

    [Fact]
    public void Generations_reuse_their_memory_and_a_disposed_generator_refuses()
    {
        ImageGenerator generator = _small.LoadGenerator(KernelSet.Create("vector256", threads: 1));
        GenerationRequest request = Request with { Labels = [1] };
        generator.Generate(request);
        long before = GC.GetAllocatedBytesForCurrentThread();
        generator.Generate(request);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;

        // The picture, its tokens, and records of a few hundred bytes for each scale.
        int expected = 3 * generator.ImageHeight * generator.ImageWidth + sizeof(int) * Scales.Tokens;
        Assert.InRange(allocated, expected, expected + 20_000);
        generator.Dispose();
        Assert.Throws<ObjectDisposedException>(() => generator.Generate(request));
    }

    [Fact]
    public void Models_that_do_not_fit_together_are_refused()
    {
        KernelSet kernels = KernelSet.Create("vector256", threads: 1);
        using ImageGenerator other = ImageGenerator.Load(GoldenCases.PathOf(GoldenCases.C), new GeneratorOptions { Kernels = kernels });
        using VarModel transformer = _small.LoadTransformer(kernels);
        ArgumentException exception = Assert.Throws<ArgumentException>(() => new ImageGenerator(transformer, other.Autoencoder));
        Assert.Contains("70 codes of 6 channels", exception.Message, StringComparison.Ordinal);
    }
}
